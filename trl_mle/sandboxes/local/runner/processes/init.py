"""Process 1 of one program's PID namespace: it makes the private root, and the kernel kills all others when it ends.

The supervisor forks it. The fork server forks the program itself into the namespaces of this process. What outlives its own
parent there becomes a child of this process, which reaps it.
"""

from __future__ import annotations

import os
import resource
import signal
from contextlib import suppress
from typing import NoReturn

from ..isolation import kernel, private_root
from ..protocol import AllEnded, InitReady, SetupFailed
from .pipes import keep_descriptors, report
from .worker_info import InitSetup

_WAITED_FOR = (signal.SIGCHLD, signal.SIGTERM)


def start_init(setup: InitSetup, alive: int) -> NoReturn:
    """Become init in a process that the supervisor has just forked. Ends, with all others, on SIGTERM.

    Reports `InitReady`, and in the end `AllEnded`.

    Args:
        setup (`InitSetup`): the program.
        alive (`int`): read end of a pipe whose other end the supervisor alone holds.
    """
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED_FOR)
        kernel.signal_on_parent_death(signal.SIGKILL)
        # A supervisor that ended before the line above sends no signal.
        _check_alive(alive)
        worker = setup.worker
        if worker.layers.private_root:
            private_root.enter(
                setup.policy.root_steps, worker.root, setup.work.descriptor, setup.public, worker.layers.proc
            )
        # Init inherits the supervisor's descriptors, among them the ends of the program's pipes.
        _become_quiet(setup.reports)
        report(setup.reports, InitReady())
        while signal.sigwait(_WAITED_FOR) == signal.SIGCHLD:
            _reap(os.WNOHANG)
        with suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)  # everything in the namespace except this process, at one stroke
        _reap(0)
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        report(setup.reports, AllEnded(usage.ru_utime + usage.ru_stime))
    except OSError as error:
        with suppress(OSError):
            report(setup.reports, SetupFailed(f"the private root could not be set up: {error}"))
    finally:
        os._exit(0)


def _check_alive(supervisor: int) -> None:
    """End if the supervisor ended before this process asked for a signal at its death."""
    os.set_blocking(supervisor, False)
    with suppress(BlockingIOError):
        if not os.read(supervisor, 1):
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
