"""The loop of a worker: one request, one program, one reply."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from . import kernel, wire, workdir
from .layers import Layers, probe
from .supervise import FaultError, HostGoneError, run_program
from .warm import preload

_GRACE_S = 10


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
        preload(settings["preload"], os.path.join(folder, "preload"), semaphores=layers.mounts)
        wire.send(sock, {"layers": asdict(layers)})
        while (request := wire.receive(sock)) is not None and "stop" not in request:
            _serve(sock, request, folder, layers)
        host_gone = request is None
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


def _serve(sock: socket.socket, request: dict[str, Any], folder: str, layers: Layers) -> None:
    try:
        reply, blobs = run_program(request, folder, layers, sock)
    except FaultError as fault:
        reply, blobs = {"fault": str(fault), "lasting": fault.lasting}, ()
    wire.send(sock, reply, *blobs)
