"""The loop of a worker: one task's needs, one keeper, one program.

A worker is two processes. This one is small: it forks a keeper for each program. Beside it stands the zygote, which has
imported the usual libraries once and forks the programs themselves. Neither ever reads a program or what it writes: what
every program starts from holds nothing of an earlier one.
"""

from __future__ import annotations

import os
import select
import signal
import socket
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from . import keeper, kernel, namespaces, wire, workdir, zygote
from .layers import probe
from .plan import Worker
from .processes import kill_descendants
from .settled import settle

_GRACE_S = 10
NOT_TAKEN = 5
"""Exit code of a worker that ended before it took what the host may have sent meanwhile."""


class HostGoneError(Exception):
    """The host has died or wants the worker to end."""


class ZygoteGoneError(Exception):
    """The process that has the libraries has died while there was no program."""


def main(descriptor: int) -> int:
    """Serve the host at the other end of the socket `descriptor` until it closes."""
    host = socket.socket(fileno=descriptor)
    host.set_inheritable(False)
    settings = wire.receive(host)
    if settings is None:
        return 0
    folder = settings["folder"]
    host_gone = False
    try:
        _follow_host(settings["host_pid"])
        worker = _start(settings, host)
        wire.send(host, {"layers": asdict(worker.layers)})
        while (needs := _next(host, worker.zygote)) is not None and "stop" not in needs:
            _keep(host, needs, worker)
        host_gone = needs is None
    except ZygoteGoneError:
        return NOT_TAKEN
    except HostGoneError:
        host_gone = wire.receive(host) is None
    except ConnectionError:
        host_gone = True
    finally:
        kill_descendants()
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


def _start(settings: dict[str, Any], host: socket.socket) -> Worker:
    """Find the layers of this machine, enter the user namespace of all programs, start the zygote."""
    folder = settings["folder"]
    layers = probe(folder, settings["without"])
    if layers.namespaces:
        namespaces.unshare_user()
        kernel.signal_on_parent_death(signal.SIGTERM)  # a change of credentials resets it
    kind = socket.SOCK_SEQPACKET if kernel.LINUX else socket.SOCK_STREAM
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    worker_pid = os.getpid()
    pid = os.fork()
    if pid == 0:
        ours.close()
        host.close()
        zygote.start(theirs, worker_pid, folder, layers, settings["preload"])
    theirs.close()
    worker = Worker(worker_pid, pid, ours, folder, layers, settings["in_memory"])
    os.mkdir(worker.root)
    if not ours.recv(1):
        raise RuntimeError("the process that imports the libraries has ended")
    return worker


def _next(host: socket.socket, zygote: socket.socket) -> dict[str, Any] | None:
    """What the host wants next; `None` where it is gone."""
    ready, _, _ = select.select([host, zygote], [], [])
    if zygote in ready:
        raise ZygoteGoneError
    return wire.receive(host)


def _keep(host: socket.socket, needs: dict[str, Any], worker: Worker) -> None:
    """Fork the keeper of the program that the host sends next, and wait until it has replied."""
    settled = settle(tuple(needs["packages"]), tuple(needs["hidden"]), worker.folder, worker.layers)
    pid = os.fork()
    if pid == 0:
        keeper.start(host, needs, settled, worker)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code == keeper.HOST_GONE:
        raise HostGoneError
    if code != 0:
        raise RuntimeError(f"the process that watches over a program ended with exit code {code}")
