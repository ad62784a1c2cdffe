"""Process 1 of one program's PID namespace: it makes the private root, and when it goes, the kernel kills the rest.

The keeper forks it. The program itself is forked by the zygote into the namespaces of this process; what outlives its own
parent there becomes a child of this process, which reaps it.
"""

from __future__ import annotations

import os
import resource
import signal
from contextlib import suppress
from typing import NoReturn

from ..isolation import kernel, private_root
from .context import Plan, keep_descriptors, report

_WATCHED = (signal.SIGCHLD, signal.SIGTERM)


def start(plan: Plan, alive: int) -> NoReturn:
    """Become `init` in a process that the keeper has just forked; ends it, with all others, on SIGTERM.

    Reports `ready`, and in the end the CPU seconds of the orphans.

    Args:
        plan (`Plan`): the program.
        alive (`int`): read end of a pipe whose other end the keeper alone holds.
    """
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
        kernel.signal_on_parent_death(signal.SIGKILL)
        _check_alive(alive)
        if plan.worker.layers.private_root:
            proc = plan.worker.layers.proc
            private_root.enter(plan.settled.steps, plan.worker.root, plan.work.descriptor, plan.public, proc)
        _become_quiet(plan.reports)
        report(plan.reports, ready=True)
        while signal.sigwait(_WATCHED) == signal.SIGCHLD:
            _reap(os.WNOHANG)
        with suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)  # everything in the namespace but this process, at one stroke
        _reap(0)
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        report(plan.reports, orphans_cpu_s=usage.ru_utime + usage.ru_stime)
    except OSError as error:
        with suppress(OSError):
            report(plan.reports, fault=f"the private view of the machine could not be set up: {error}")
    finally:
        os._exit(0)


def _check_alive(keeper: int) -> None:
    """End where the keeper went before this process asked to be told."""
    os.set_blocking(keeper, False)
    with suppress(BlockingIOError):
        if not os.read(keeper, 1):
            os._exit(1)


def _become_quiet(reports: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    keep_descriptors(reports)


def _reap(flags: int) -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, flags)[0]:
            pass
