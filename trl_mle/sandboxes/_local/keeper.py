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
from .public import unusable
from .settled import Settled
from .supervise import FaultError, NobodyWaitsError, Reply, ZygoteGoneError, run_program
from .workdir import Work

HOST_GONE = 3
"""Exit code that tells the worker to end."""
_FAILED = 4


def start(host: socket.socket, settled: Settled, worker: Worker) -> NoReturn:
    """Serve one program in a process that `worker` has just forked; ends it."""
    code = _FAILED
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if kernel.LINUX:
            kernel.signal_on_parent_death(signal.SIGKILL)
        if os.getppid() == worker.pid:
            code = _serve(host, settled, worker)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _serve(host: socket.socket, settled: Settled, worker: Worker) -> int:
    try:
        request = wire.receive(host)
        if request is None:
            return HOST_GONE
        reply: dict[str, Any]
        blobs: tuple[bytes, ...] = ()
        code = 0
        try:
            reply, blobs = _run(request, host, settled, worker)
        except FaultError as fault:
            reply = {"fault": str(fault), "lasting": fault.lasting}
        except OSError as error:  # no more processes, no more space: the machine's fault
            reply = {"fault": f"a program could not be run: {error}", "lasting": False}
        except ZygoteGoneError as error:
            reply, code = {"fault": str(error), "lasting": False}, _FAILED
        wire.send(host, reply, *blobs)
    except (NobodyWaitsError, ConnectionError):
        return HOST_GONE
    return code


def _run(request: dict[str, Any], host: socket.socket, settled: Settled, worker: Worker) -> Reply:
    if settled.fault is not None:
        raise FaultError(settled.fault, lasting=True)
    if (reason := unusable(request["public"])) is not None:
        raise FaultError(reason, lasting=True)
    layers = worker.layers
    if layers.namespaces:
        namespaces.unshare(with_mounts=layers.private_root)
    work = Work(worker.folder, request["limits"], layers.private_root, worker.in_memory)
    try:
        return run_program(request, host, settled, worker, work)
    finally:
        work.remove()
