"""The process that stands between the worker and one program: reads it, has it run, replies to the host, and ends.

It is forked for each program and the only one that sees the program's text and what it wrote.
"""

from __future__ import annotations

import os
import signal
import socket
import traceback
from typing import Any, NoReturn

from . import kernel, namespaces, wire
from .plan import Worker
from .settled import Settled
from .supervise import FaultError, NobodyWaitsError, Reply, run_program
from .workdir import Work

HOST_GONE = 3
"""Exit code that tells the worker to end."""
_FAILED = 4


def start(sock: socket.socket, settled: Settled, worker: Worker) -> NoReturn:
    """Serve one program in a process that `worker` has just forked; ends it."""
    code = _FAILED
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _follow(worker)
        if kernel.LINUX:
            kernel.adopt_orphans()
        code = _serve(sock, settled, worker)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _follow(worker: Worker) -> None:
    """End with the worker."""
    if kernel.LINUX:
        kernel.signal_on_parent_death(signal.SIGKILL)
    if os.getppid() != worker.pid:
        os._exit(_FAILED)


def _serve(sock: socket.socket, settled: Settled, worker: Worker) -> int:
    try:
        request = wire.receive(sock)
        if request is None:
            return HOST_GONE
        reply: dict[str, Any]
        blobs: tuple[bytes, ...] = ()
        try:
            reply, blobs = _run(request, sock, settled, worker)
        except FaultError as fault:
            reply = {"fault": str(fault), "lasting": fault.lasting}
        except OSError as error:  # no more processes, no more space: the machine's fault
            reply = {"fault": f"a program could not be run: {error}", "lasting": False}
        wire.send(sock, reply, *blobs)
    except (NobodyWaitsError, ConnectionError):
        return HOST_GONE
    return 0


def _run(request: dict[str, Any], sock: socket.socket, settled: Settled, worker: Worker) -> Reply:
    if settled.fault is not None:
        raise FaultError(settled.fault, lasting=True)
    if not os.path.isdir(request["public"]):
        raise FaultError(f"the folder of public files {request['public']!r} does not exist", lasting=True)
    layers = worker.layers
    if layers.namespaces:
        namespaces.unshare(with_mounts=layers.private_root)
        _follow(worker)  # a change of credentials has reset it
    work = Work(worker.folder, request["limits"], layers.private_root, worker.in_memory)
    try:
        return run_program(request, sock, settled, worker, work)
    finally:
        work.remove()
