"""The supervisor process: reads one program, has it run, replies to the host, and ends.

The worker forks it for each program. It alone sees the program's text and what the program wrote.
"""

from __future__ import annotations

import os
import signal
import socket
import traceback
from contextlib import ExitStack
from dataclasses import replace
from typing import NoReturn

from .. import frames
from ..isolation import kernel, namespaces
from ..limits import kept_files
from ..limits.workdir import WorkFolder
from ..policy import TaskPolicy
from ..protocol import ProgramFault, ProgramRequest, ProgramResult, Reply
from .fork_server import ForkServerGoneError
from .supervised_program import FaultError, NobodyWaitsError, SupervisedProgram
from .worker_info import WorkerInfo

HOST_GONE = 3
"""Exit code that tells the worker to end."""
_FAILED = 4


def start_supervisor(host: socket.socket, policy: TaskPolicy, worker: WorkerInfo) -> NoReturn:
    """Serve one program in a process that `worker` has just forked. Ends the process."""
    code = _FAILED
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if kernel.LINUX:
            kernel.signal_on_parent_death(signal.SIGKILL)
        # A worker that died before the line above sends no signal any more.
        if os.getppid() == worker.pid:
            code = _serve(host, policy, worker)
    except BaseException:
        traceback.print_exc()
    finally:
        # Never back into the worker's code, whose `finally` would remove the worker's folder.
        os._exit(code)


def _serve(host: socket.socket, policy: TaskPolicy, worker: WorkerInfo) -> int:
    """Read one request, reply to it, and return the exit code of this process."""
    try:
        message = frames.receive(host)
        if message is None:
            return HOST_GONE
        request = frames.expect(message, ProgramRequest)
        if policy.fault is not None:
            # Only after the request is read: the next frame on the socket is the next task's.
            frames.send(host, ProgramFault(policy.fault, may_have_started=False, lasting=True))
            return 0
        cleanup = ExitStack()
        try:
            reply, code = _reply(request, host, policy, worker, cleanup)
            # Before the cleanup, which the host need not wait for.
            frames.send(host, reply)
        finally:
            _close(cleanup)
        return code
    except (NobodyWaitsError, ConnectionError):
        return HOST_GONE


def _reply(
    request: ProgramRequest, host: socket.socket, policy: TaskPolicy, worker: WorkerInfo, cleanup: ExitStack
) -> tuple[Reply, int]:
    """The reply to `request`, and the exit code of this process."""
    programs: list[SupervisedProgram] = []
    code, process_died = 0, False
    try:
        return _run(request, host, policy, worker, cleanup, programs), code
    except FaultError as error:
        reason = str(error)
    except OSError as error:  # no more processes, no more space: the machine's fault
        reason = f"a program could not be run: {error}"
    except ForkServerGoneError as error:
        # The worker is of no use without its fork server: it ends, and the host starts another.
        code, reason, process_died = _FAILED, str(error), True
    # Asked before the cleanup, which ends the processes whose reports would be missed.
    may_have_started = any(program.may_have_started for program in programs)
    cpu_s = sum(program.seen_cpu_s for program in programs)
    _close(cleanup)
    return ProgramFault(reason, may_have_started, lasting=False, process_died=process_died, cpu_s=cpu_s), code


def _close(cleanup: ExitStack) -> None:
    """Clean up. What fails is written down: the reply stands, and the next program gets its worker."""
    try:
        cleanup.close()
    except OSError:
        traceback.print_exc()


def _run(
    request: ProgramRequest,
    host: socket.socket,
    policy: TaskPolicy,
    worker: WorkerInfo,
    cleanup: ExitStack,
    programs: list[SupervisedProgram],
) -> ProgramResult:
    """Run the program of `request`.

    Args:
        cleanup (`ExitStack`): gets what need not be done before the host has its answer.
        programs (`list`): gets the program as soon as it is forked, so that it is known if an error follows.
    """
    layers = worker.layers
    if layers.namespaces:
        namespaces.unshare(with_mounts=layers.private_root)
    work = WorkFolder(worker.folder, request.limits, layers.private_root, worker.in_memory)
    cleanup.callback(work.remove)
    if request.files:
        # Before any process of the program exists. The program's own process gets no copy of them.
        kept_files.write(work.descriptor, request.files)
        request = replace(request, files={})
    program = SupervisedProgram(request, policy, worker, work)
    programs.append(program)
    cleanup.callback(program.end)
    program.start()
    program.supervise(host)
    result = program.result()
    if work.path is not None:
        # The host must find neither a process nor a folder. The removal, which may take long, need not end before the reply.
        program.end()
        work.set_aside()
    return result
