"""Runs one program from the keeper's side: forks it, watches its limits, collects what it wrote."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import time
from contextlib import suppress
from typing import Any

from .. import protocol
from ..limits.monitor import Watch
from ..limits.workdir import Work
from ..policy import Settled
from . import fork_server, init
from .context import Plan, Worker
from .fork_server import ZygoteGoneError

_SETUP_S = 60.0
"""Longest time from the fork to the first line of the program, in seconds."""
_GRACE_S = 10.0
"""How long the process in charge may take to kill and reap everything before it is killed itself, in seconds."""
_SPARE_CPU_S = 5.0
"""CPU seconds that all processes together may use beyond the wall-clock limit times the number of threads."""
_CHUNK, _CHUNKS = 1 << 16, 16
"""A pipe is read in pieces of this many bytes, this many at a time: together the most that a pipe can hold."""
_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)

Reply = tuple[dict[str, Any], tuple[bytes, ...]]


class FaultError(Exception):
    """The sandbox, not the program, failed."""


class NobodyWaitsError(Exception):
    """The host has died or does not want the result any more."""


class Running:
    """One program between its fork and its reply: `start` it, `supervise` it, ask for its `reply`, and `end` it.

    Args:
        request (`dict`): the program, its public files and its limits, as the host has sent them.
        settled (`Settled`): what it may import and open.
        worker (`Worker`): whose keeper this process is.
        work (`Work`): its fresh folder.

    Raises:
        ZygoteGoneError: the worker cannot go on.
    """

    def __init__(self, request: dict[str, Any], settled: Settled, worker: Worker, work: Work):
        self._work = work
        self._worker = worker
        self._limits = request["limits"]
        self._init: int | None = None
        """Process 1 of the program's PID namespace, where it has one."""
        self._reports: dict[str, Any] = {}
        self._handed_over = False
        """Whether the program's text has been sent to its process."""
        self._all_gone = False
        """Whether every process that could report has ended."""
        self._stopped: tuple[str, str] | None = None
        self._began = time.monotonic()
        reads, writes = zip(*(os.pipe() for _ in range(3)), strict=True)
        self._streams = {descriptor: _Stream(self._limits["output_bytes"]) for descriptor in reads[:2]}
        self._reports_fd, self._unread = reads[2], b""
        for descriptor in reads:
            os.set_blocking(descriptor, False)
        self._text, text = socket.socketpair()
        self._text.settimeout(_SETUP_S)
        handed = [*writes, text.detach()]
        try:
            if worker.layers.namespaces:
                self._init = _fork_init(Plan(work, request["public"], settled, worker, reports=writes[2]))
                handed.append(os.pidfd_open(self._init))
            self._watch = Watch(work, self._limits, worker.zygote_pid, self._init)
            fork_server.fork_program(worker.zygote, settled, handed)
        except ConnectionError as error:
            raise ZygoteGoneError(f"the process that forks programs is gone: {error}") from None
        finally:
            for descriptor in handed:
                os.close(descriptor)

    def start(self, request: dict[str, Any]) -> None:
        """Send the program to the process that has been forked for it, once its namespaces are ready.

        Raises:
            FaultError: they could not be made.
            ZygoteGoneError: the worker cannot go on.
        """
        poller = self._poller(self._reports_fd)
        while self._init is not None and "ready" not in self._reports:
            for descriptor, _ in poller.poll(1000):
                self._check_zygote(descriptor)
                if not self._read_reports() or "fault" in self._reports:
                    raise FaultError(self._reports.get("fault", "the first process of a program has ended"))
            self._check_start(time.monotonic())
        message = {name: request[name] for name in ("code", "source", "public", "limits")}
        self._handed_over = True
        with suppress(ConnectionError):  # a process that is gone already has reported why, or will be missed
            protocol.send(self._text, {**message, "work": self._work.inside})
        self._text.close()

    def supervise(self, host: socket.socket) -> None:
        """Return when the program and all its processes have ended.

        Raises:
            FaultError: it could not be started.
            NobodyWaitsError: the other end of `host` was closed meanwhile.
            ZygoteGoneError: the worker cannot go on.
        """
        poller = self._poller(*self._streams, self._reports_fd, host.fileno())
        kill_at: float | None = None
        while True:
            for descriptor, _ in poller.poll(1000 * self._watch.pause_s() + 1):
                self._check_zygote(descriptor)
                if descriptor == host.fileno():
                    raise NobodyWaitsError
                if descriptor == self._reports_fd:
                    if not self._read_reports() or {"ended", "orphans_cpu_s"} <= self._reports.keys():
                        return
                elif self._streams[descriptor].read(descriptor):
                    poller.unregister(descriptor)
            now = time.monotonic()
            if kill_at is None:
                if not self._has_ended():
                    self._stopped = self._passed(now)
                if self._has_ended() or self._stopped is not None:
                    kill_at = now + _GRACE_S
                    self._stop()
            elif now > kill_at:
                self._kill()

    def _poller(self, *descriptors: int) -> select.poll:
        poller = select.poll()
        for descriptor in (*descriptors, self._worker.zygote.fileno()):
            poller.register(descriptor, select.POLLIN)
        return poller

    def _check_zygote(self, descriptor: int) -> None:
        """The zygote says nothing while it works: its end of the socket closes when it dies."""
        if descriptor == self._worker.zygote.fileno() and "ended" not in self._reports:
            raise ZygoteGoneError("the process that forks programs has died")

    @property
    def may_have_started(self) -> bool:
        """Whether the first line of the program may have run: it has its text, and nothing says that it did not start."""
        if "started" in self._reports:
            return True
        return self._handed_over and not (self._all_gone or "ended" in self._reports)

    def _has_ended(self) -> bool:
        return "ended" in self._reports or "fault" in self._reports

    def _stop(self) -> None:
        """Have all processes of the program ended, by the one that is in charge of them."""
        with suppress(ProcessLookupError):
            if self._init is not None:
                os.kill(self._init, signal.SIGTERM)
            elif "ended" not in self._reports:
                os.kill(self._worker.zygote_pid, signal.SIGTERM)

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self._worker.zygote_pid if self._init is None else self._init, signal.SIGKILL)

    def end(self) -> None:
        """Leave no process of the program, whatever state it is in."""
        if self._init is not None:
            with suppress(ProcessLookupError):
                os.kill(self._init, signal.SIGKILL)
            os.waitpid(self._init, 0)
        elif not self._has_ended():
            self._stop()

    def reply(self) -> Reply:
        """The execution as a message, with its blobs: stdout, stderr and, where there is one, the submission.

        Raises:
            FaultError: the sandbox failed.
            ZygoteGoneError: the worker cannot go on.
        """
        reports = self._reports
        if "fault" in reports:
            raise FaultError(reports["fault"])
        if "started" not in reports:
            raise FaultError("a program's process ended before the program started")
        if "ended" not in reports:
            raise ZygoteGoneError("the process that forks programs has died")
        for descriptor, stream in self._streams.items():
            stream.read(descriptor)  # what was written last
        out, err = self._streams.values()
        status, code = self._status()
        if self._stopped is not None and status == self._stopped[0]:
            err.add(f"\nStopped by the sandbox: {self._stopped[1]}.\n".encode())
        submission, reason = self._work.read_submission(self._limits["submission_bytes"])
        # The kernel does not account for children whose parent has said that it will not wait for them.
        accounted = reports["cpu_s"] + reports.get("orphans_cpu_s", 0.0)
        message = {
            "status": status,
            "exit_code": code,
            "wall_s": reports["ended"] - reports["started"],
            "cpu_s": max(0.0, max(accounted, self._watch.cpu_s) - reports["setup_cpu_s"]),
            "max_rss_bytes": max(self._watch.peak_bytes, reports["max_rss_bytes"]),
            "stdout_cut_bytes": out.cut,
            "stderr_cut_bytes": err.cut,
            "submission_reason": reason,
        }
        blobs = (bytes(out.kept), bytes(err.kept))
        return message, blobs if submission is None else (*blobs, submission)

    def _status(self) -> tuple[str, int | None]:
        code = self._reports.get("code")
        if self._stopped is not None:
            in_time = code is not None and self._reports["ended"] - self._reports["started"] <= self._limits["wall_s"]
            if not (self._stopped[0] == "timeout" and in_time):
                return self._stopped[0], None
        if any(stream.cut for stream in self._streams.values()):
            return "output", None
        if code is None:
            return "killed", None
        if code == 0:
            return "ok", 0
        return ("killed" if -code in _FROM_OUTSIDE else "error"), code

    def _passed(self, now: float) -> tuple[str, str] | None:
        if "started" not in self._reports:
            self._check_start(now)
            return None
        limits = self._limits
        if now - self._reports["started"] > limits["wall_s"]:
            return "timeout", f"the wall-clock limit of {limits['wall_s']:g} s has passed"
        most_cpu_s = limits["wall_s"] * limits["threads"] + _SPARE_CPU_S
        if self._watch.cpu_s > most_cpu_s:
            return "timeout", f"all processes together used more than {most_cpu_s:g} s of CPU time"
        if any(stream.cut for stream in self._streams.values()):
            return "output", f"more than {limits['output_bytes']} bytes were printed"
        return self._watch.look()

    def _check_start(self, now: float) -> None:
        if now - self._began > _SETUP_S:
            raise FaultError(f"a program did not start within {_SETUP_S:g} s")

    def _read_reports(self) -> bool:
        """Take in what the processes report; `False` once all of them have closed the pipe."""
        data = os.read(self._reports_fd, _CHUNK)
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            self._reports.update(json.loads(line))
        self._all_gone = not data
        return bool(data)


def _fork_init(plan: Plan) -> int:
    alive, held = os.pipe()  # the other end stays open as long as this process lives
    pid = os.fork()
    if pid == 0:
        os.close(held)
        init.start(plan, alive)
    os.close(alive)
    return pid


class _Stream:
    """Output of a program up to `most` bytes, and the number of bytes beyond."""

    def __init__(self, most: int):
        self.kept = bytearray()
        self.cut = 0
        self._most = most

    def read(self, descriptor: int) -> bool:
        """Read what is there; whether the other end is closed."""
        for _ in range(_CHUNKS):
            try:
                data = os.read(descriptor, _CHUNK)
            except BlockingIOError:
                return False
            if not data:
                return True
            room = self._most - len(self.kept)
            self.kept += data[:room]
            self.cut += max(0, len(data) - room)
        return False

    def add(self, data: bytes) -> None:
        """Append a remark of the sandbox, which does not count against the limit."""
        self.kept += data
