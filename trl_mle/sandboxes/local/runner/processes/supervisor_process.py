"""The process that stands between the worker and one program: reads it, has it run, replies to the host, and ends.

It is forked for each program and the only one that sees the program's text and what it wrote.
"""

from __future__ import annotations

import os
import signal
import socket
import traceback
from contextlib import ExitStack
from typing import Any, NoReturn

from .. import protocol
from ..isolation import kernel, namespaces
from ..limits.workdir import Work
from ..policy import Settled
from .context import Worker
from .fork_server import ZygoteGoneError
from .supervisor import FaultError, NobodyWaitsError, Reply, Running

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
        request = protocol.receive(host)
        if request is None:
            return HOST_GONE
        if settled.fault is not None:
            protocol.send(host, {"fault": settled.fault, "lasting": True, "may_have_started": False})
            return 0
        with ExitStack() as left:
            code, fault = 0, None
            begun: list[Running] = []
            reply: dict[str, Any] = {}
            blobs: tuple[bytes, ...] = ()
            try:
                reply, blobs = _run(request, host, settled, worker, left, begun)
            except FaultError as error:
                fault = str(error)
            except OSError as error:  # no more processes, no more space: the machine's fault
                fault = f"a program could not be run: {error}"
            except ZygoteGoneError as error:
                code, fault = _FAILED, str(error)
            if fault is not None:
                may_have_started = any(program.may_have_started for program in begun)
                left.close()
                reply = {"fault": fault, "lasting": False, "may_have_started": may_have_started}
            protocol.send(host, reply, *blobs)
            return code
    except (NobodyWaitsError, ConnectionError):
        return HOST_GONE


def _run(
    request: dict[str, Any],
    host: socket.socket,
    settled: Settled,
    worker: Worker,
    left: ExitStack,
    begun: list[Running],
) -> Reply:
    """Run the program of `request`, which is in `begun` from its fork on; what need not be done before the host has its
    answer goes to `left`."""
    layers = worker.layers
    if layers.namespaces:
        namespaces.unshare(with_mounts=layers.private_root)
    work = Work(worker.folder, request["limits"], layers.private_root, worker.in_memory)
    left.callback(work.remove)
    program = Running(request, settled, worker, work)
    begun.append(program)
    left.callback(program.end)
    program.start(request)
    program.supervise(host)
    reply = program.reply()
    if work.path is not None:  # on disk, where it would be found
        left.close()
    return reply
