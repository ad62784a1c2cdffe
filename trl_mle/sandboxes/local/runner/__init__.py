"""The worker of `LocalSandbox`: an interpreter with preloaded libraries that forks one confined child per program.

These modules use only the standard library. They are run by another interpreter process, which never imports `trl_mle`.

    worker                small; reads what a task needs, forks a supervisor per program
    ├── fork server           has imported the libraries; forks the program, waits for its end
    │   └── program               enters init's namespaces, confines itself, runs the code
    └── supervisor            reads the program, keeps it to its limits, replies to the host
        └── init                  process 1 of the program's namespaces: makes its private root, reaps its orphans

Each process is killed with the one above it. Without namespaces there is no init, and the fork server ends the orphans.

- `protocol.py`, `frames.py`: the messages between these processes, the host and the guest of a virtual machine.
- `policy.py`: what the programs of a task may import and open.
- `processes/`: one module per process.
- `isolation/`: one module per mechanism of the kernel.
- `interpreter/`: imports, packages, and the run of the program itself.
- `limits/`: what a program uses, and its folder.
"""
