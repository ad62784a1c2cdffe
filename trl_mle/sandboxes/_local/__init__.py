"""The worker of `LocalSandbox`: a warm interpreter that forks one confined child for each program.

These modules use the standard library alone and are run by another interpreter process that never imports `trl_mle`.
From the outside in: `worker` (serves requests) -> `supervise` (limits, output, result) -> `init` (owns all processes
of one program) -> `child` (confines itself, runs the program).
"""
