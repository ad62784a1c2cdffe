"""The worker of `LocalSandbox`: a warm interpreter that forks one confined child for each program.

These modules use the standard library alone and are run by another interpreter process that never imports `trl_mle`.

    worker      small; reads what a task needs, forks a keeper for each program
    ├── zygote      has the libraries; forks the program, waits for its end
    │   └── child       the program: enters init's namespaces, confines itself, runs the code
    └── keeper      reads the program, watches its limits (`supervise`, `watch`), replies to the host
        └── init        process 1 of the program's namespaces: makes its private root (`view`), reaps its orphans

Each is killed with the one above it. Where there are no namespaces there is no init, and the zygote sees to the orphans.
"""
