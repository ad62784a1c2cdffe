"""The guest: what runs inside a virtual machine, beside a copy of `runner`. It uses only the standard library.

    prepare     measures the virtual machine once and starts `serve`
    serve       keeps one worker of `runner`, hands it one program after the other, writes the replies
    run         asks `serve` for one program and ends when its reply is written
    unpack      lays out the public files of a task

Programs run by the same code as in `LocalSandbox`: confined, with the same clocks and the same limits. They cannot see any of
the files here.
"""
