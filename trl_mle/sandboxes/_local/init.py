"""The process that owns all processes of one program, and ends with none of them left.

The keeper forks it. Where namespaces work, it is process 1 of a PID namespace: when it goes, the kernel kills the rest.
Elsewhere it adopts orphans and kills all descendants that it finds.
"""

from __future__ import annotations

import os
import resource
import signal
import time
from contextlib import suppress
from typing import NoReturn

from . import child, kernel, view
from .plan import Plan, keep_descriptors, report
from .processes import kill_descendants

_WATCHED = (signal.SIGCHLD, signal.SIGTERM)


def start(plan: Plan, alive: int) -> NoReturn:
    """Become `init` in a process that the keeper has just forked; ends it.

    Reports `child`'s reports, then `ended` with the exit code (`null` where the keeper had it stopped by SIGTERM), CPU
    seconds and the largest resident memory of a process.

    Args:
        plan (`Plan`): the program.
        alive (`int`): read end of a pipe whose other end the keeper alone holds.
    """
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
        if kernel.LINUX:
            # Should memory run out on the machine, the program goes before the trainer.
            with open("/proc/self/oom_score_adj", "w") as file:
                file.write("1000")
            own = plan.worker.layers.namespaces
            kernel.signal_on_parent_death(signal.SIGKILL if own else signal.SIGTERM)
            kernel.adopt_orphans()
        _check_alive(alive)
        if plan.worker.layers.private_root:
            view.enter(
                plan.settled.steps,
                plan.worker.root,
                plan.work.descriptor,
                plan.public,
                plan.worker.layers.private_proc,
            )
        _run(plan)
    except OSError as error:
        report(plan.reports, fault=f"a program's processes could not be set up: {error}")
    finally:
        os._exit(1)


def _check_alive(keeper: int) -> None:
    """End where the keeper went before this process asked to be told."""
    os.set_blocking(keeper, False)
    with suppress(BlockingIOError):
        if not os.read(keeper, 1):
            os._exit(1)
    os.close(keeper)


def _run(plan: Plan) -> NoReturn:
    program = os.fork()
    if program == 0:
        child.run(plan)
    _become_quiet(plan.reports)
    code = None
    while code is None and signal.sigwait(_WATCHED) == signal.SIGCHLD:
        code = _reap(program)
    if code is None:
        code = _reap(program)  # it may have ended at the same moment
    ended = time.monotonic()
    _kill_all(plan.worker.layers.namespaces, program)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    unit = 1024 if kernel.LINUX else 1
    report(
        plan.reports,
        ended=ended,
        code=code,
        cpu_s=usage.ru_utime + usage.ru_stime,
        max_rss_bytes=usage.ru_maxrss * unit,
    )
    os._exit(0)


def _become_quiet(reports: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    keep_descriptors(reports)


def _reap(program: int) -> int | None:
    """Reap whatever has ended; the exit code of `program` if it is among them."""
    code = None
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == program:
            return os.waitstatus_to_exitcode(status)
        if pid == 0:
            return code


def _kill_all(own_namespace: bool, program: int) -> None:
    if kernel.LINUX and not own_namespace:
        kill_descendants()
        return
    with suppress(ProcessLookupError):
        # In a PID namespace: everything in it but this process, at one stroke.
        os.kill(-1, signal.SIGKILL) if own_namespace else os.killpg(program, signal.SIGKILL)
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)
