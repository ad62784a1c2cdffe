"""The loop of a worker: one task's needs, one fork, one program.

The worker itself never reads a program, nor what it writes: its memory is what every program starts from, and holds
nothing of an earlier one.
"""

from __future__ import annotations

import os
import signal
import socket
from contextlib import suppress
from dataclasses import asdict

from . import keeper, kernel, wire, workdir
from .layers import probe
from .plan import Worker
from .processes import kill_descendants
from .settled import Settled, settle
from .warm import preload

_GRACE_S = 10


class HostGoneError(Exception):
    """The host has died or wants the worker to end."""


def main(descriptor: int) -> int:
    """Serve the host at the other end of the socket `descriptor` until it closes."""
    sock = socket.socket(fileno=descriptor)
    sock.set_inheritable(False)
    settings = wire.receive(sock)
    if settings is None:
        return 0
    folder = settings["folder"]
    host_gone = False
    try:
        _follow_host(settings["host_pid"])
        layers = probe(folder, settings["without"])
        worker = Worker(os.getpid(), folder, layers, settings["in_memory"])
        os.mkdir(worker.root)
        preload(settings["preload"], os.path.join(folder, "preload"), semaphores=layers.private_root)
        wire.send(sock, {"layers": asdict(layers)})
        while (needs := wire.receive(sock)) is not None and "stop" not in needs:
            settled = settle(tuple(needs["packages"]), tuple(needs["hidden"]), folder, layers)
            _keep(sock, settled, worker)
        host_gone = needs is None
    except HostGoneError:
        host_gone = wire.receive(sock) is None
    except ConnectionError:
        host_gone = True
    finally:
        workdir.remove(folder)
        if host_gone:
            with suppress(OSError):  # other workers have a folder there, the last one removes it
                os.rmdir(os.path.dirname(folder))
    return 0


def _follow_host(host_pid: int) -> None:
    """End with the host: the socket closes then, and the kernel's signal is for a worker that does not notice."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_GRACE_S))
    if kernel.LINUX:
        kernel.signal_on_parent_death(signal.SIGTERM)
        kernel.adopt_orphans()
    if os.getppid() != host_pid:
        raise HostGoneError


def _keep(sock: socket.socket, settled: Settled, worker: Worker) -> None:
    """Fork the keeper of the program that the host sends next, and wait until it has replied."""
    pid = os.fork()
    if pid == 0:
        keeper.start(sock, settled, worker)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code == 0:
        return
    kill_descendants()  # what a keeper that was killed could not see to
    if code == keeper.HOST_GONE:
        raise HostGoneError
    raise RuntimeError(f"the process that watches over a program ended with exit code {code}")
