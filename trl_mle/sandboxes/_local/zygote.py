"""The process that has imported the libraries: it forks each program, waits for its end, and is otherwise idle.

It gets descriptors from a keeper (`fork_program`) and hands them to its fork, which reads the program from one of them.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NoReturn

from . import child, kernel, namespaces
from .layers import Layers
from .plan import report
from .processes import kill_descendants
from .settled import Settled, settle
from .warm import preload

_WATCHED = (signal.SIGCHLD, signal.SIGTERM)
_RSS_UNIT = 1024 if kernel.LINUX else 1
_MOST_BYTES, _MOST_DESCRIPTORS = 1 << 16, 5


def start(sock: socket.socket, worker_pid: int, folder: str, layers: Layers, modules: Sequence[str]) -> NoReturn:
    """Become the zygote in a process that the worker has just forked; ends it. Sends one byte when it is ready."""
    code = 1
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
        if kernel.LINUX:
            # Without namespaces it has to see to its program's processes before it ends.
            kernel.signal_on_parent_death(signal.SIGKILL if layers.namespaces else signal.SIGTERM)
            kernel.adopt_orphans()
        if os.getppid() == worker_pid:
            preload(modules, os.path.join(folder, "preload"), semaphores=layers.private_root)
            sock.send(b"+")
            _serve(sock, folder, layers)
        code = 0
    except ConnectionError:
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def fork_program(sock: socket.socket, needs: dict[str, Any], descriptors: Sequence[int]) -> None:
    """Have the zygote at the other end of `sock` fork a program.

    Args:
        needs (`dict`): names of `packages`, paths that are `hidden`.
        descriptors (`Sequence[int]`): for stdout, stderr, reports, the program's text and, where there are namespaces,
            a descriptor of the process whose namespaces they are.
    """
    socket.send_fds(sock, [json.dumps(needs).encode("ascii")], descriptors)


def _serve(sock: socket.socket, folder: str, layers: Layers) -> None:
    while True:
        message, descriptors, flags, _ = socket.recv_fds(sock, _MOST_BYTES, _MOST_DESCRIPTORS)
        if not message:
            return
        if flags & socket.MSG_CTRUNC:
            raise RuntimeError("descriptors of a program were lost: too many open files")
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        reports = descriptors[2]
        try:
            needs = json.loads(message)
            settled = settle(tuple(needs["packages"]), tuple(needs["hidden"]), folder, layers)
            _run(descriptors, settled, layers)
        except OSError as error:
            with suppress(OSError):
                report(reports, fault=f"a program could not be forked: {error}")
        finally:
            os.close(reports)


def _run(descriptors: list[int], settled: Settled, layers: Layers) -> None:
    """Fork one program and report its process number, then its end."""
    stdout, stderr, reports, text, *owner = descriptors
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    pid = -1
    try:
        _forget_signals()
        if owner:
            namespaces.enter_processes(owner[0])
        pid = os.fork()
        if pid == 0:
            child.run(child.Streams(stdout, stderr, reports, text), owner[0] if owner else None, settled, layers)
    finally:
        for descriptor in (stdout, stderr, text, *owner):
            os.close(descriptor)
    with suppress(BrokenPipeError):  # a keeper that is gone has taken the program with it
        report(reports, program=pid)
    code, max_rss_bytes = _wait(pid, own_namespace=bool(owner))
    ended = time.monotonic()
    if not owner:
        kill_descendants() if kernel.LINUX else _kill_group(pid)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    with suppress(BrokenPipeError):
        report(reports, ended=ended, code=code, cpu_s=cpu_s, max_rss_bytes=max_rss_bytes)


def _wait(program: int, own_namespace: bool) -> tuple[int | None, int]:
    """The exit code of `program` once it has ended, or `None` where it was stopped by SIGTERM to this process.

    With it the largest resident memory that one of its processes had, in bytes.
    """
    while True:
        with suppress(ChildProcessError):
            while (found := os.wait4(-1, os.WNOHANG))[0]:
                if found[0] == program:
                    return os.waitstatus_to_exitcode(found[1]), found[2].ru_maxrss * _RSS_UNIT
        if signal.sigwait(_WATCHED) == signal.SIGTERM:
            if kernel.LINUX and not own_namespace:
                kill_descendants()
            else:
                os.kill(program, signal.SIGKILL)
                os.waitpid(program, 0)
            return None, 0


def _forget_signals() -> None:
    """A request to stop a program may come when it has just ended; it must not stop the next one."""
    while signal.SIGTERM in signal.sigpending():
        signal.sigwait((signal.SIGTERM,))


def _kill_group(program: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(program, signal.SIGKILL)
