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
import time
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

from .. import protocol, public_files
from ..isolation import kernel, namespaces
from ..isolation.probe import probe
from ..limits import workdir
from ..limits.proc import kill_descendants
from ..policy import settle
from . import fork_server, supervisor_process
from .context import Worker
from .fork_server import ZygoteGoneError

_GRACE_S = 10
_REPARENTED_S = 0.5
"""How long after its socket closes a host that has died may still be this process's parent, in seconds."""


class HostGoneError(Exception):
    """The host has died or wants the worker to end."""


class NoKeeperError(Exception):
    """The machine has no room for one more process: nobody has read the program."""


def main(descriptor: int) -> int:
    """Serve the host at the other end of the socket `descriptor` until it closes."""
    host = socket.socket(fileno=descriptor)
    host.set_inheritable(False)
    settings = protocol.receive(host)
    if settings is None:
        return 0
    folder = settings["folder"]
    try:
        _follow_host(settings["host_pid"])
        worker = _start(settings, host)
        if worker is not None:
            protocol.send(host, {"layers": asdict(worker.layers)})
            while (needs := _next(host, worker.zygote)) is not None and "stop" not in needs:
                _keep(host, needs, worker)
    except (ZygoteGoneError, NoKeeperError):  # while there was no program
        return protocol.NOT_TAKEN
    except (HostGoneError, ConnectionError):
        pass
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        kill_descendants()
        workdir.remove(folder)
        if _is_gone(settings["host_pid"]):
            with suppress(OSError):  # other workers have a folder there, the last one removes it
                os.rmdir(os.path.dirname(folder))
    return 0


def _follow_host(host_pid: int) -> None:
    """End with the host: the socket closes then, and the kernel's signal is for a worker that does not notice."""

    def end(*_: object) -> None:
        signal.alarm(_GRACE_S)
        raise HostGoneError

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, end)
    if kernel.LINUX:
        kernel.signal_on_parent_death(signal.SIGTERM)
        kernel.adopt_orphans()
    if os.getppid() != host_pid:
        raise HostGoneError


def _is_gone(host_pid: int) -> bool:
    deadline = time.monotonic() + _REPARENTED_S
    while os.getppid() == host_pid and time.monotonic() < deadline:
        time.sleep(0.01)
    return os.getppid() != host_pid


def _start(settings: dict[str, Any], host: socket.socket) -> Worker | None:
    """Find the layers of this machine, enter the user namespace of all programs, start the zygote.

    Where the zygote cannot import what it should, the host is told why, and there is no worker.
    """
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
        fork_server.start(theirs, worker_pid, folder, layers, settings["preload"])
    theirs.close()
    worker = Worker(worker_pid, pid, ours, folder, layers, settings["in_memory"])
    os.mkdir(worker.root)
    answer = ours.recv(4096)
    if not answer:
        raise RuntimeError("the process that imports the libraries has ended")
    if answer != fork_server.READY:
        protocol.send(host, {"unusable": answer.decode("utf-8", "replace")})
        return None
    return worker


def _next(host: socket.socket, zygote: socket.socket) -> dict[str, Any] | None:
    """What the host wants next; `None` where it is gone."""
    ready, _, _ = select.select([host, zygote], [], [])
    if zygote in ready:
        raise ZygoteGoneError
    return protocol.receive(host)


def _keep(host: socket.socket, needs: dict[str, Any], worker: Worker) -> None:
    """Fork the keeper of the program that the host sends next, and wait until it has replied."""
    settled = settle(tuple(needs["packages"]), tuple(needs["hidden"]), worker.folder, worker.layers)
    if settled.fault is None:
        try:
            public_files.check(needs["public"])
        except public_files.UnusableError as error:
            settled = replace(settled, fault=str(error))
    if settled.fault is None:
        fork_server.learn(worker.zygote, settled)
    try:
        pid = os.fork()
    except OSError as error:
        raise NoKeeperError from error
    if pid == 0:
        supervisor_process.start(host, settled, worker)
    while (found := os.waitpid(-1, 0))[0] != pid:
        pass  # an orphan: a process of a PID namespace can only go once those below it have been waited for
    code = os.waitstatus_to_exitcode(found[1])
    if code == supervisor_process.HOST_GONE:
        raise HostGoneError
    if code != 0:
        raise RuntimeError(f"the process that watches over a program ended with exit code {code}")
