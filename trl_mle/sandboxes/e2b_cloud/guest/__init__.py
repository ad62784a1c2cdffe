"""What runs inside a machine, beside a copy of `runner`: the standard library alone.

    prepare     measures the machine once and starts `serve`
    serve       keeps one worker of `runner` warm, hands it one program after the other, writes the replies
    run         asks `serve` for one program and ends when its reply is written
    unpack      lays out the public files of a task

Programs run as in `LocalSandbox`, by the same code: confined, with the same clocks and the same limits. None of the files
here can be seen by them.
"""
