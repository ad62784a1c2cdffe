"""The process of the program: it confines itself, then runs the code as `__main__`."""

from __future__ import annotations

import os
import signal
import socket
import time
from dataclasses import dataclass
from typing import NoReturn

from .. import frames
from ..interpreter.execute import execute, prepare
from ..isolation import kernel, landlock, namespaces, rlimits, seccomp
from ..isolation.allowlist import rules_for_program
from ..policy import TaskPolicy
from ..protocol import Layers, ProgramLimits, ProgramStart, ProgramStarted, SetupFailed
from .pipes import keep_descriptors, report

PROGRAM = "main.py"
SETUP_FAILED = 125


@dataclass(frozen=True)
class Descriptors:
    """Descriptors that the fork server has got from a supervisor for one program."""

    stdout: int
    stderr: int
    reports: int
    """Write end of the pipe on which the processes of the sandbox report to the supervisor. The program never has it."""
    text: int
    """Socket from which the program is read."""


def run_program(descriptors: Descriptors, owner: int | None, policy: TaskPolicy, layers: Layers) -> NoReturn:
    """Confine this process and run the program that the supervisor sends. Never returns.

    Reports `ProgramStarted`, or `SetupFailed` and the reason.

    Args:
        descriptors (`Descriptors`): those of this program.
        owner (`int`, *optional*): descriptor of the process whose namespaces this one enters.
        policy (`TaskPolicy`): what the program may import and open.
        layers (`Layers`): the layers of isolation of this machine.
    """
    code = SETUP_FAILED
    try:
        try:
            if kernel.LINUX:
                kernel.signal_on_parent_death(signal.SIGKILL)
                # Should memory run out on the machine, the program goes before the trainer.
                with open("/proc/self/oom_score_adj", "w") as file:
                    file.write("1000")
            # When the program arrives, the namespaces are ready.
            message = frames.receive(socket.socket(fileno=descriptors.text))
            if message is None:
                os._exit(code)  # nobody waits any more
            start = frames.expect(message, ProgramStart)
            request, work = start.request, start.work
            if owner is not None:
                namespaces.enter(owner, with_mounts=layers.private_root)
            program, source = (text.encode("utf-8", "surrogatepass") for text in (request.code, request.source))
            _move_in(descriptors, work, None if layers.private_root else request.public, source)
            _confine(policy, layers, work, request.public, request.limits)
            os.listdir("input")  # public files that cannot be read are a fault of the sandbox, not of the program
            prepare(work, PROGRAM, policy.packages, policy.links, request.limits.threads)
            report(descriptors.reports, ProgramStarted(time.monotonic(), time.process_time()))
        except BaseException as error:
            reason = f"a program could not be confined: {type(error).__name__}: {error}"
            report(descriptors.reports, SetupFailed(reason))
            raise
        os.close(descriptors.reports)
        code = execute(program, source, work, PROGRAM)
    finally:
        os._exit(code)


def _move_in(descriptors: Descriptors, work: str, public: str | None, source: bytes) -> None:
    """Take a session, standard streams and a folder of its own, with a link to `public` if nothing is mounted."""
    os.setsid()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGALRM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDONLY)
    for descriptor, standard in ((null, 0), (descriptors.stdout, 1), (descriptors.stderr, 2)):
        os.dup2(descriptor, standard)
    keep_descriptors(descriptors.reports)
    os.umask(0o022)
    os.chdir(work)
    if public is not None:
        os.symlink(public, "input")
    os.mkdir("tmp", 0o700)
    with open(PROGRAM, "wb") as file:
        file.write(source)


def _confine(policy: TaskPolicy, layers: Layers, work: str, public: str, limits: ProgramLimits) -> None:
    rlimits.apply(limits, own_user=layers.namespaces)
    # The bounding set first: `drop_capabilities` takes the right to change it. Landlock and seccomp ask for no new privileges.
    if layers.privileges:
        kernel.drop_bounding_capabilities()
        kernel.forbid_new_privileges()
    if layers.landlock:
        own = rules_for_program(work, public, layers.private_root, layers.private_proc)
        landlock.restrict(layers.landlock, [*policy.allowlist, *own])
    if layers.privileges:
        kernel.drop_capabilities()
        kernel.allow_own_proc_files()
    if layers.seccomp:
        oldest = None if layers.signals else os.getpid()
        truncation = not layers.private_root and layers.landlock < landlock.TRUNCATION
        seccomp.restrict(layers.private_root, own_processes=layers.namespaces, oldest=oldest, truncation=truncation)
