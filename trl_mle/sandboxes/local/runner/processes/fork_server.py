"""The process that has imported the libraries: it forks each program, waits for its end, and is otherwise idle.

It gets descriptors from a keeper (`fork_program`) and hands them to its fork, which reads the program from one of them.
"""

from __future__ import annotations

import os
import pickle
import resource
import signal
import socket
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import NoReturn

from ..interpreter.imports import foreign_modules
from ..interpreter.preload import preload
from ..isolation import kernel, namespaces
from ..isolation.probe import Layers
from ..limits.proc import kill_descendants
from ..policy import Settled
from . import program
from .context import report

_WATCHED = (signal.SIGCHLD, signal.SIGTERM)
_RSS_UNIT = 1024 if kernel.LINUX else 1
_MOST_BYTES, _MOST_DESCRIPTORS = 1 << 18, 5
READY = b"+"
"""What the zygote says when it has imported everything, and when it has learned something."""


class ZygoteGoneError(Exception):
    """The process that forks programs has died."""


def start(sock: socket.socket, worker_pid: int, folder: str, layers: Layers, modules: Sequence[str]) -> NoReturn:
    """Become the zygote in a process that the worker has just forked; ends it. Sends `READY`, or why it is not."""
    code = 1
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
        if kernel.LINUX:
            # Without namespaces it has to see to its program's processes before it ends.
            kernel.signal_on_parent_death(signal.SIGKILL if layers.namespaces else signal.SIGTERM)
            kernel.adopt_orphans()
        if os.getppid() == worker_pid:
            try:
                preload(modules, os.path.join(folder, "preload"), semaphores=layers.private_root)
            except ImportError as error:
                sock.send(f"{type(error).__name__}: {error}".encode()[:4000])
            else:
                sock.send(READY)
                _serve(sock, layers)
        code = 0
    except ConnectionError:
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def learn(sock: socket.socket, settled: Settled) -> None:
    """Tell the zygote at the other end of `sock` what programs of a task may import and open, unless it knows.

    It does not get to know the paths that are hidden: its memory is what every program starts from.
    """
    if settled.key in _told:
        return
    sock.send(pickle.dumps(replace(settled, steps=())))
    if sock.recv(1) != READY:
        raise ConnectionError("the process that forks programs is gone")
    _told.add(settled.key)


_told: set[str] = set()


def fork_program(sock: socket.socket, settled: Settled, descriptors: Sequence[int]) -> None:
    """Have the zygote at the other end of `sock` fork a program.

    Args:
        settled (`Settled`): what the program may import and open; learned before.
        descriptors (`Sequence[int]`): for stdout, stderr, reports, the program's text and, where there are namespaces,
            a descriptor of the process whose namespaces they are.
    """
    socket.send_fds(sock, [settled.key.encode("ascii")], descriptors)


def _serve(sock: socket.socket, layers: Layers) -> None:
    known: dict[str, Settled] = {}
    signal.signal(signal.SIGCHLD, _reap)
    while True:
        # A child that outlives its program would keep the program's namespaces from ending.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGCHLD,))
        message, descriptors, flags, _ = socket.recv_fds(sock, _MOST_BYTES, _MOST_DESCRIPTORS)
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD,))
        if not message:
            return
        if flags & socket.MSG_CTRUNC:
            raise RuntimeError("descriptors of a program were lost: too many open files")
        if not descriptors:
            settled = pickle.loads(message)
            known[settled.key] = settled
            foreign_modules(settled.packages)  # for its cache
            sock.send(READY)
            continue
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        reports = descriptors[2]
        try:
            _run(descriptors, known[message.decode("ascii")], layers)
        except OSError as error:
            with suppress(OSError):
                report(reports, fault=f"a program could not be forked: {error}")
        finally:
            os.close(reports)


def _reap(*_: object) -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _run(descriptors: list[int], settled: Settled, layers: Layers) -> None:
    """Fork one program and report its end."""
    stdout, stderr, reports, text, *owner = descriptors
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    pid = -1
    try:
        _forget_signals()
        if owner:
            namespaces.enter_processes(owner[0])
        pid = os.fork()
        if pid == 0:
            program.run(program.Streams(stdout, stderr, reports, text), owner[0] if owner else None, settled, layers)
    finally:
        for descriptor in (stdout, stderr, text, *owner):
            os.close(descriptor)
    code, max_rss_bytes = _wait(pid, own_namespace=bool(owner))
    ended = time.monotonic()
    if not owner:
        kill_descendants() if kernel.LINUX else _kill_group(pid)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    with suppress(BrokenPipeError):  # a keeper that is gone has taken the program with it
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
