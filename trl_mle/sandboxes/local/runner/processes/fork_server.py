"""The fork server: a process that has imported the libraries, forks each program, and waits for its end.

It gets descriptors from a supervisor (`fork_program`) and hands them to its fork, which reads the program from one of them.
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
from ..limits.proc import kill_descendants
from ..policy import TaskPolicy
from ..protocol import AllEnded, Layers, ProgramEnded, SetupFailed
from .pipes import report
from .program import Descriptors, run_program

_WAITED_FOR = (signal.SIGCHLD, signal.SIGTERM)
_RSS_UNIT = 1024 if kernel.LINUX else 1
_PIECE_BYTES, _MOST_DESCRIPTORS = 1 << 16, 5
_MORE, _LAST = b"+", b"."
"""First byte of each piece of a policy. The kernel takes no message of more than about 200 KiB, and policies have no limit: they
hold a path per file of a namespace package, and without a private root one per shared library of the machine."""
READY = b"+"
"""Sent by the fork server when it has imported everything, and when it has read a piece of a policy."""

_announced: set[str] = set()
"""In the worker: keys of the policies that its fork server has."""


class ForkServerGoneError(Exception):
    """The fork server has died."""


def start_fork_server(
    sock: socket.socket, worker_pid: int, folder: str, layers: Layers, modules: Sequence[str]
) -> NoReturn:
    """Become the fork server in a process that the worker has just forked. Ends the process.

    Sends `READY`, or why a module cannot be imported.
    """
    code = 1
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED_FOR)
        if kernel.LINUX:
            # Without namespaces it has to see to its program's processes before it ends.
            kernel.signal_on_parent_death(signal.SIGKILL if layers.namespaces else signal.SIGTERM)
            kernel.adopt_orphans()
        # A worker that died before the lines above sends no signal any more.
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


def announce_policy(sock: socket.socket, policy: TaskPolicy) -> None:
    """Send `policy` to the fork server at the other end of `sock`, unless it has it.

    The steps of the private root are left out. They name the paths that are hidden, and every program starts with a copy of
    the fork server's memory.

    Raises:
        ForkServerGoneError: it has died.
    """
    if policy.key in _announced:
        return
    content = pickle.dumps(replace(policy, root_steps=()))
    for start in range(0, len(content), _PIECE_BYTES):
        end = start + _PIECE_BYTES
        try:
            sock.send((_MORE if end < len(content) else _LAST) + content[start:end])
            answer = sock.recv(1)
        except ConnectionError:
            answer = b""
        if answer != READY:
            raise ForkServerGoneError("the fork server has died")
    _announced.add(policy.key)


def fork_program(sock: socket.socket, policy: TaskPolicy, descriptors: Sequence[int]) -> None:
    """Have the fork server at the other end of `sock` fork a program.

    Args:
        policy (`TaskPolicy`): what the program may import and open; announced before.
        descriptors (`Sequence[int]`): for stdout, stderr, reports, the program's text and, if there are namespaces, a
            descriptor of the process whose namespaces they are.
    """
    socket.send_fds(sock, [policy.key.encode("ascii")], descriptors)


def _serve(sock: socket.socket, layers: Layers) -> None:
    policies: dict[str, TaskPolicy] = {}
    unread = b""  # of a policy that comes in pieces
    signal.signal(signal.SIGCHLD, _reap)
    while True:
        # A child that outlives its program would keep the program's namespaces from ending.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGCHLD,))
        message, descriptors, flags, _ = socket.recv_fds(sock, _PIECE_BYTES + 1, _MOST_DESCRIPTORS)
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD,))
        if not message:
            return
        # The kernel drops descriptors silently if this process may open no more.
        if flags & socket.MSG_CTRUNC:
            raise RuntimeError("descriptors of a program were lost: too many open files")
        if not descriptors:
            unread += message[1:]
            if message[:1] == _LAST:
                policy = pickle.loads(unread)
                policies[policy.key] = policy
                foreign_modules(policy.packages)  # fills its cache before the fork
                unread = b""
            sock.send(READY)
            continue
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        reports = descriptors[2]
        try:
            _run(descriptors, policies[message.decode("ascii")], layers)
        except OSError as error:
            with suppress(OSError):
                report(reports, SetupFailed(f"a program could not be forked: {error}"))
        finally:
            os.close(reports)


def _reap(*_: object) -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _run(descriptors: list[int], policy: TaskPolicy, layers: Layers) -> None:
    """Fork one program and report its end."""
    stdout, stderr, reports, text, *owner = descriptors
    before = _cpu_s_of_children()
    pid = -1
    try:
        _forget_signals()
        # `setns` of a PID namespace holds for the next child, not for this process.
        if owner:
            namespaces.enter_processes(owner[0])
        pid = os.fork()
        if pid == 0:
            run_program(Descriptors(stdout, stderr, reports, text), owner[0] if owner else None, policy, layers)
    except BaseException:
        for descriptor in owner:
            os.close(descriptor)
        raise
    finally:
        for descriptor in (stdout, stderr, text):
            os.close(descriptor)
    exit_code, max_rss_bytes = _wait(pid, own_namespace=bool(owner))
    ended_at, after = time.monotonic(), _cpu_s_of_children()
    for init in owner:
        # At once, and not by the supervisor, which may be busy: what goes on after the program's end is not measured.
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(init, signal.SIGTERM)
        os.close(init)
    with suppress(BrokenPipeError):  # a supervisor that is gone has taken the program with it
        # Before the others are killed: one that waits for a slow disk ends when it likes.
        report(reports, ProgramEnded(ended_at, exit_code, after - before, max_rss_bytes))
        # With namespaces, init kills what is left; it has been told so.
        if not owner:
            kill_descendants() if kernel.LINUX else _kill_group(pid)
            report(reports, AllEnded(_cpu_s_of_children() - after))


def _cpu_s_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _wait(program_pid: int, own_namespace: bool) -> tuple[int | None, int]:
    """The exit code of the program once it has ended, and the largest resident memory of one of its processes in bytes.

    The exit code is `None` if a SIGTERM to this process has asked to stop the program.
    """
    while True:
        with suppress(ChildProcessError):
            # All children: orphans of the program come to this process if there are no namespaces.
            while (ended := os.wait4(-1, os.WNOHANG))[0]:
                if ended[0] == program_pid:
                    return os.waitstatus_to_exitcode(ended[1]), ended[2].ru_maxrss * _RSS_UNIT
        if signal.sigwait(_WAITED_FOR) == signal.SIGTERM:
            if kernel.LINUX and not own_namespace:
                kill_descendants()
            else:
                os.kill(program_pid, signal.SIGKILL)
                os.waitpid(program_pid, 0)
            return None, 0


def _forget_signals() -> None:
    """Drop requests to stop an earlier program, which may come when it has just ended."""
    while signal.SIGTERM in signal.sigpending():
        signal.sigwait((signal.SIGTERM,))


def _kill_group(program_pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(program_pid, signal.SIGKILL)
