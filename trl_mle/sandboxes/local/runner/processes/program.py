"""The process of the program itself: confines itself, then runs the code as `__main__`."""

from __future__ import annotations

import os
import signal
import socket
import time
from dataclasses import dataclass
from typing import Any, NoReturn

from .. import protocol
from ..interpreter.execute import execute, prepare
from ..isolation import kernel, landlock, namespaces, rlimits, seccomp
from ..isolation.allowlist import of_program
from ..isolation.probe import Layers
from ..policy import Settled
from .context import keep_descriptors, report

PROGRAM = "main.py"
SETUP_FAILED = 125


@dataclass(frozen=True)
class Streams:
    """Descriptors that the zygote has got from a keeper for one program."""

    stdout: int
    stderr: int
    reports: int
    """Write end of the pipe on which the processes of the sandbox report to the keeper; never the program's."""
    text: int
    """Socket from which the program is read."""


def run(streams: Streams, owner: int | None, settled: Settled, layers: Layers) -> NoReturn:
    """Confine this process and run the program that the keeper sends. Never returns.

    Reports `started` (monotonic seconds) with the CPU seconds spent so far, or `fault` and the reason.

    Args:
        streams (`Streams`): its descriptors.
        owner (`int`, *optional*): descriptor of the process whose namespaces it enters.
        settled (`Settled`): what it may import and open.
        layers (`Layers`): those of this machine.
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
            request = protocol.receive(socket.socket(fileno=streams.text))
            if request is None:
                os._exit(code)  # nobody waits any more
            if owner is not None:
                namespaces.enter(owner, with_mounts=layers.private_root)
            work, limits = request["work"], request["limits"]
            program, source = (request[name].encode("utf-8", "surrogatepass") for name in ("code", "source"))
            _settle(streams, work, None if layers.private_root else request["public"], source)
            _confine(settled, layers, work, request["public"], limits)
            os.listdir("input")  # a fault of the sandbox, were it not readable
            prepare(work, PROGRAM, settled.packages, settled.linked, int(limits["threads"]))
            report(streams.reports, started=time.monotonic(), setup_cpu_s=time.process_time())
        except BaseException as error:
            report(streams.reports, fault=f"a program could not be confined: {type(error).__name__}: {error}")
            raise
        os.close(streams.reports)
        code = execute(program, source, work, PROGRAM)
    finally:
        os._exit(code)


def _settle(streams: Streams, work: str, public: str | None, source: bytes) -> None:
    """Own session, own standard streams, own folder, with a link to `public` where nothing is mounted."""
    os.setsid()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGALRM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDONLY)
    for descriptor, standard in ((null, 0), (streams.stdout, 1), (streams.stderr, 2)):
        os.dup2(descriptor, standard)
    keep_descriptors(streams.reports)
    os.umask(0o022)
    os.chdir(work)
    if public is not None:
        os.symlink(public, "input")
    os.mkdir("tmp", 0o700)
    with open(PROGRAM, "wb") as file:
        file.write(source)


def _confine(settled: Settled, layers: Layers, work: str, public: str, limits: dict[str, Any]) -> None:
    rlimits.apply(limits, own_user=layers.namespaces)
    if layers.privileges:
        kernel.drop_bounding_capabilities()
        kernel.forbid_new_privileges()
    if layers.landlock:
        own = of_program(work, public, layers.private_root, layers.private_proc)
        landlock.restrict(layers.landlock, [*settled.grants, *own])
    if layers.privileges:
        kernel.drop_capabilities()
        kernel.allow_own_proc_files()
    if layers.seccomp:
        seccomp.restrict(own_root=layers.private_root, own_processes=layers.namespaces)
