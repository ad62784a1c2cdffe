"""The loop of a worker: for each program it reads the needs of the task and forks a supervisor.

A worker is two processes. This one is small and forks the supervisors. Beside it stands the fork server, which has imported
the usual libraries once and forks the programs. Neither process reads a program or its output. A program is forked from the fork
server, so nothing of an earlier program can be in its memory.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import replace
from typing import Any

from .. import frames, public_files
from ..isolation import kernel, namespaces, rlimits
from ..isolation.probe import probe
from ..limits import removal
from ..limits.proc import kill_descendants
from ..policy import TaskPolicy, task_policy
from ..protocol import NOT_TAKEN, Stop, TaskFiles, WorkerReady, WorkerSettings, WorkerUnusable
from .fork_server import READY, ForkServerGoneError, announce_policy, start_fork_server
from .supervisor import HOST_GONE, start_supervisor
from .worker_info import WorkerInfo

_GRACE_S = 10
"""How long the worker may take until it begins to end once the host is gone, in seconds."""
_REMOVAL_S = 600
"""How long it may then take to remove its folder, in seconds: nobody waits, and nobody else would remove it."""
_KILL_S = 5.0
"""How long the worker may take to end the processes below it, in seconds."""
_REPARENTED_S = 0.5
"""How long after its socket closes a host that has died may still be this process's parent, in seconds."""


class HostGoneError(Exception):
    """The host has died or wants the worker to end."""


class NoSupervisorError(Exception):
    """The machine has no capacity for a program, such as for one more process: nobody has read it."""


def main(descriptor: int) -> int:
    """Serve the host at the other end of the socket `descriptor` until it closes."""
    host = socket.socket(fileno=descriptor)
    host.set_inheritable(False)
    message = frames.receive(host)
    if message is None:
        return 0
    settings = frames.expect(message, WorkerSettings)
    try:
        _follow_host(settings.host_pid)
        worker = _start(settings, host)
        if worker is not None:
            frames.send(host, WorkerReady(worker.layers, python=".".join(map(str, sys.version_info[:3]))))
            ended = _wake_when_children_end()
            while (files := _next(host, worker.fork_server, ended)) is not None:
                _run_supervisor(host, files, worker)
    except (ForkServerGoneError, NoSupervisorError):  # while there was no program
        return NOT_TAKEN
    except (HostGoneError, ConnectionError):
        pass
    finally:
        # A second SIGTERM must not interrupt the cleanup.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        # What does not end, such as a process that waits for a slow disk, ends later: the host waits for this one.
        kill_descendants(_KILL_S)
        signal.alarm(_REMOVAL_S)
        with suppress(OSError):  # the host removes what is left; the exit code says something else
            removal.remove(settings.folder)
        if _is_gone(settings.host_pid):
            with suppress(OSError):  # other workers have a folder there, the last one removes it
                os.rmdir(os.path.dirname(settings.folder))
    return 0


def _follow_host(host_pid: int) -> None:
    """End with the host: its socket closes then, and the kernel's signal reaches a worker that does not read."""

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


def _start(settings: WorkerSettings, host: socket.socket) -> WorkerInfo | None:
    """Find the layers of this machine, enter the user namespace of all programs, and start the fork server.

    Returns `None` if the fork server cannot import the modules of `settings.preload`; the host has been told why.
    """
    folder = settings.folder
    if kernel.LINUX:
        rlimits.bound_open_files()
    layers = probe(folder, settings.without)
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
        start_fork_server(theirs, worker_pid, folder, layers, settings.preload)
    theirs.close()
    worker = WorkerInfo(worker_pid, pid, ours, folder, layers, settings.in_memory, settings.number)
    os.mkdir(worker.root)
    answer = ours.recv(4096)
    if not answer:
        raise RuntimeError("the process that imports the libraries has ended")
    if answer != READY:
        frames.send(host, WorkerUnusable(answer.decode("utf-8", "replace")))
        return None
    return worker


def _wake_when_children_end() -> int:
    """Descriptor that becomes readable when a child ends: one that removes a folder is reaped as soon as it is done."""
    reads, writes = os.pipe()
    for descriptor in (reads, writes):
        os.set_blocking(descriptor, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(writes, warn_on_full_buffer=False)
    return reads


def _next(host: socket.socket, fork_server: socket.socket, ended: int) -> TaskFiles | None:
    """The task of the next program; `None` if the host is gone or wants the worker to end.

    Args:
        ended (`int`): descriptor that is readable if a child has ended.
    """
    while True:
        sources: list[Any] = [host, fork_server, ended]
        ready, _, _ = select.select(sources, [], [])
        # The fork server says nothing by itself: its end of the socket has closed.
        if fork_server in ready:
            raise ForkServerGoneError
        if ended in ready:
            os.read(ended, 4096)
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
        if host in ready:
            break
    message = frames.receive(host)
    if message is None:
        return None
    expected = frames.expect(message, TaskFiles, Stop)
    return expected if isinstance(expected, TaskFiles) else None


def _announced_policy(files: TaskFiles, worker: WorkerInfo) -> TaskPolicy:
    """The policy of a task, which the fork server has got if programs of the task can run here."""
    policy = task_policy(files.packages, files.hidden, worker.folder, worker.layers)
    if policy.fault is None:
        try:
            public_files.check(files.public)
        except public_files.UnusableError as error:
            return replace(policy, fault=str(error))
        announce_policy(worker.fork_server, policy)
    return policy


def _run_supervisor(host: socket.socket, files: TaskFiles, worker: WorkerInfo) -> None:
    """Fork the supervisor of the program that the host sends next, and wait until it has replied."""
    try:
        policy = _announced_policy(files, worker)
        pid = os.fork()
    except OSError as error:
        # The host shows it. Not by `sys.stderr`: on a full disk, what it could not write would change the exit code.
        with suppress(OSError):
            os.write(2, traceback.format_exc().encode("utf-8", "backslashreplace"))
        raise NoSupervisorError from error
    if pid == 0:
        start_supervisor(host, policy, worker)
    while (ended := os.waitpid(-1, 0))[0] != pid:
        pass  # an orphan: a process of a PID namespace can only go once those below it have been waited for
    code = os.waitstatus_to_exitcode(ended[1])
    removal.sweep(worker.folder)
    if code == HOST_GONE:
        raise HostGoneError
    if code != 0:
        raise RuntimeError(f"the supervisor of a program ended with exit code {code}")
