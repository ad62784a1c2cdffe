"""One program from the supervisor's side: forked, held to its limits, and what it wrote collected."""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from contextlib import suppress

from .. import frames
from ..limits import kept_files
from ..limits.early_exit import EarlyExit
from ..limits.monitor import LimitPassed, LimitsMonitor
from ..limits.workdir import WorkFolder
from ..policy import TaskPolicy
from ..protocol import ProgramEnded, ProgramRequest, ProgramResult, ProgramStart, Status
from .fork_server import ForkServerGoneError, fork_program
from .init import start_init
from .pipes import CappedOutput, Reports
from .worker_info import InitSetup, WorkerInfo

_SETUP_S = 60.0
"""Longest time from the fork to the first line of the program, in seconds."""
_GRACE_S = 10.0
"""How long init or the fork server may take to kill and reap everything before it is killed itself, in seconds."""
_SPARE_CPU_S = 5.0
"""CPU seconds that all processes together may use beyond the wall-clock limit times the number of threads."""
_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


class FaultError(Exception):
    """The sandbox, not the program, failed."""


class NobodyWaitsError(Exception):
    """The host has died or does not want the result any more."""


class SupervisedProgram:
    """One program between its fork and its result: `start` it, `supervise` it, ask for its `result`, and `end` it.

    Args:
        request (`ProgramRequest`): the program, its public files and its limits.
        policy (`TaskPolicy`): what the program may import and open.
        worker (`WorkerInfo`): the worker that forked this supervisor.
        work (`WorkFolder`): the program's fresh folder.

    Raises:
        ForkServerGoneError: the worker cannot go on.
    """

    def __init__(self, request: ProgramRequest, policy: TaskPolicy, worker: WorkerInfo, work: WorkFolder):
        self._request = request
        self._modules = policy.packages.modules
        self._limits = request.limits
        self._work = work
        self._worker = worker
        self._init: int | None = None
        """Process 1 of the program's PID namespace, if it has one."""
        self._is_left = False
        """Whether `end` has been called."""
        self._text_sent = False
        """Whether the program's text has been sent to its process."""
        self._stopped: LimitPassed | None = None
        """The limit for which the supervisor stopped the program."""
        self._killed_at: float | None = None
        """When the fork server was killed, because it could not end the program's processes."""
        self._forked_at = time.monotonic()
        reads, writes = zip(*(os.pipe() for _ in range(3)), strict=True)
        self._outputs = {descriptor: CappedOutput(self._limits.output_bytes) for descriptor in reads[:2]}
        self._early_exit = EarlyExit(self._limits, request.source, list(self._outputs.values()))
        self._reports = Reports(reads[2])
        # Pipes are read until they are empty, which must not block.
        for descriptor in reads:
            os.set_blocking(descriptor, False)
        self._text, text = socket.socketpair()
        self._text.settimeout(_SETUP_S)
        handed_over = [*writes, text.detach()]
        try:
            if worker.layers.namespaces:
                self._init = _fork_init(InitSetup(work, request.public, policy, worker, reports=writes[2]))
                handed_over.append(os.pidfd_open(self._init))
            self._monitor = LimitsMonitor(work, self._limits, worker.fork_server_pid, self._init, worker.number)
            # The fork server forks while init still makes the private root: the program waits for its text.
            fork_program(worker.fork_server, policy, handed_over)
        except ConnectionError as error:
            raise ForkServerGoneError(f"the fork server is gone: {error}") from None
        finally:
            # With a copy of a write end here, the pipes would never close.
            for descriptor in handed_over:
                os.close(descriptor)

    def start(self) -> None:
        """Send the program to the process that has been forked for it, once its namespaces are ready.

        Raises:
            FaultError: the namespaces could not be made.
            ForkServerGoneError: the worker cannot go on.
        """
        poller = self._poller(self._reports.descriptor)
        while self._init is not None and not self._reports.init_ready:
            for descriptor, _ in poller.poll(1000):
                self._check_fork_server(descriptor)
                if not self._reports.read() or self._reports.fault is not None:
                    raise FaultError(self._reports.fault or "the first process of a program has ended")
            self._check_setup_time(time.monotonic())
        # Before the text is sent: if sending fails half-way, nobody knows what has arrived.
        self._text_sent = True
        with suppress(ConnectionError):  # a process that is gone already has reported why, or will be missed
            frames.send(self._text, ProgramStart(self._request, self._work.inside))
        self._text.close()

    def supervise(self, host: socket.socket) -> None:
        """Return when the program and all its processes have ended.

        Raises:
            FaultError: the program could not be started.
            NobodyWaitsError: the other end of `host` was closed meanwhile.
            ForkServerGoneError: the worker cannot go on.
        """
        poller = self._poller(*self._outputs, self._reports.descriptor, host.fileno())
        kill_at: float | None = None
        while True:
            # One millisecond more: a time-out that is rounded down to 0 would keep a core busy until the next look is due.
            for descriptor, _ in poller.poll(1000 * self._monitor.pause_s() + 1):
                self._check_fork_server(descriptor)
                if descriptor == host.fileno():
                    # The host says nothing while a program runs: its end can only be closed.
                    raise NobodyWaitsError
                if descriptor == self._reports.descriptor:
                    if not self._reports.read() or self._is_over():
                        return
                elif self._outputs[descriptor].read(descriptor):
                    # A closed pipe would be reported as readable for ever.
                    poller.unregister(descriptor)
            now = time.monotonic()
            if kill_at is None:
                # A program that has ended can pass no limit any more, whatever its orphans do.
                if not self._has_ended():
                    self._stopped = self._passed_limit(now)
                if self._has_ended() or self._stopped is not None:
                    kill_at = now + _GRACE_S
                    self._stop()
            elif now > kill_at:
                self._kill(fork_server=self._init is None or now > kill_at + _GRACE_S / 2)

    @property
    def may_have_started(self) -> bool:
        """Whether the first line of the program may have run: its text was sent, and no report says that it did not start."""
        if self._reports.started is not None:
            return True
        # An end without a start, or a pipe that all have closed: the process ended during its setup.
        return self._text_sent and not (self._reports.closed or self._reports.ended is not None)

    @property
    def seen_cpu_s(self) -> float:
        """CPU seconds of the program as far as the limits monitor has seen them."""
        started = self._reports.started
        return 0.0 if started is None else max(0.0, self._monitor.cpu_s - started.setup_cpu_s)

    def end(self) -> None:
        """Leave no process of the program, whatever state it is in. A second call does nothing."""
        if self._is_left:
            return
        self._is_left = True
        if self._init is not None:
            # The kernel kills all others of the namespace with its process 1.
            with suppress(ProcessLookupError):
                os.kill(self._init, signal.SIGKILL)
            # Its end is that of all its processes, and one that waits for a slow disk ends when it likes.
            if self._killed_at is None:
                poller = select.poll()
                poller.register(ended := os.pidfd_open(self._init), select.POLLIN)
                poller.poll(1000 * _GRACE_S)
                os.close(ended)
            os.waitpid(self._init, os.WNOHANG)
        elif not self._has_ended():
            self._stop()

    def result(self) -> ProgramResult:
        """What happened to the program.

        Raises:
            FaultError: the sandbox failed.
            ForkServerGoneError: the worker cannot go on.
        """
        started, ended = self._reports.started, self._reports.ended
        if self._reports.fault is not None:
            raise FaultError(self._reports.fault)
        if started is None:
            raise FaultError("a program's process ended before the program started")
        # A limit was passed, and that stands, whatever kept the processes from ending: a disk that does not answer, for example.
        if ended is None and self._killed_at is not None:
            ended = ProgramEnded(self._killed_at, exit_code=None, cpu_s=0.0, max_rss_bytes=0)
        # The fork server reports every end: without a report it has died with the program.
        if ended is None:
            raise ForkServerGoneError("the fork server has died")
        for descriptor, output in self._outputs.items():
            output.read(descriptor)  # what was written last
        out, err = self._outputs.values()
        status, exit_code = self._status(ended.at - started.at, ended.exit_code)
        # Not if the program ended by itself in the moment in which it was stopped.
        if self._stopped is not None and status == self._stopped.status:
            err.add_remark(f"Stopped by the sandbox: {self._stopped.reason}.")
        submission, reason = self._work.read_submission(self._limits.submission_bytes)
        files, files_cut = self._kept_files()
        spared_s = self._early_exit.spared_s(ended.at - started.at) if status == "timeout" else 0.0
        # The kernel does not account for children whose parent has said that it will not wait for them: the monitor saw them.
        orphans = self._reports.all_ended
        accounted = ended.cpu_s + (0.0 if orphans is None else orphans.orphans_cpu_s)
        return ProgramResult(
            status=status,
            exit_code=exit_code,
            wall_s=ended.at - started.at + spared_s,
            cpu_s=max(0.0, max(accounted, self._monitor.cpu_s) - started.setup_cpu_s)
            + spared_s * self._limits.threads,
            max_rss_bytes=max(self._monitor.peak_bytes, ended.max_rss_bytes),
            stdout=bytes(out.content),
            stderr=bytes(err.content),
            stdout_cut_bytes=out.cut,
            stderr_cut_bytes=err.cut,
            submission=submission,
            submission_reason=reason,
            files=files,
            files_cut=files_cut,
        )

    def _kept_files(self) -> tuple[dict[str, bytes], int]:
        """What the program left for the next one, and the number of entries that are left out."""
        limits = self._limits
        # Processes that cannot be ended may still write.
        if not limits.keep_bytes or self._killed_at is not None:
            return {}, 0
        return kept_files.collect(self._work.descriptor, limits.keep_bytes, limits.work_bytes, self._modules)

    def _status(self, wall_s: float, exit_code: int | None) -> tuple[Status, int | None]:
        """Status and exit code of a program that ran for `wall_s` seconds."""
        if self._stopped is not None:
            # The supervisor may look late: a program that ended by itself within its time is no time-out.
            # One that was stopped for its CPU time or its progress is killed within that time, too.
            in_time = exit_code not in (None, -signal.SIGKILL) and wall_s <= self._limits.wall_s
            if not (self._stopped.status == "timeout" and in_time):
                return self._stopped.status, None
        # Found out only now if the program printed too much just before its end.
        if any(output.cut for output in self._outputs.values()):
            return "output", None
        if exit_code is None:
            return "killed", None
        if exit_code == 0:
            return "ok", 0
        return ("killed" if -exit_code in _FROM_OUTSIDE else "error"), exit_code

    def _passed_limit(self, now: float) -> LimitPassed | None:
        """The limit that the program has passed at `now`, if any."""
        started = self._reports.started
        if started is None:
            # Setup is the sandbox's time, not the program's.
            self._check_setup_time(now)
            return None
        limits = self._limits
        if now - started.at > limits.wall_s:
            return LimitPassed("timeout", f"the wall-clock limit of {limits.wall_s:g} s has passed")
        most_cpu_s = limits.wall_s * limits.threads + _SPARE_CPU_S
        if self._monitor.cpu_s > most_cpu_s:
            return LimitPassed("timeout", f"all processes together used more than {most_cpu_s:g} s of CPU time")
        if any(output.cut for output in self._outputs.values()):
            return LimitPassed("output", f"more than {limits.output_bytes} bytes were printed")
        return self._early_exit.check(now - started.at) or self._monitor.check()

    def _check_setup_time(self, now: float) -> None:
        if now - self._forked_at > _SETUP_S:
            raise FaultError(f"a program did not start within {_SETUP_S:g} s")

    def _poller(self, *descriptors: int) -> select.poll:
        """A poller of `descriptors` and of the fork server's socket."""
        poller = select.poll()
        for descriptor in (*descriptors, self._worker.fork_server.fileno()):
            poller.register(descriptor, select.POLLIN)
        return poller

    def _check_fork_server(self, descriptor: int) -> None:
        """Raise if `descriptor`, which is ready, is the fork server's: it says nothing while it works, so it has died."""
        # After the program's end, or this process's doing, its death concerns the next program alone.
        expected = self._reports.ended is not None or self._killed_at is not None
        if descriptor == self._worker.fork_server.fileno() and not expected:
            raise ForkServerGoneError("the fork server has died")

    def _has_ended(self) -> bool:
        """Whether the program itself has ended, or never began."""
        return self._reports.ended is not None or self._reports.fault is not None

    def _is_over(self) -> bool:
        """Whether all processes of the program have ended."""
        return self._reports.ended is not None and self._reports.all_ended is not None

    def _stop(self) -> None:
        """Ask init or, without namespaces, the fork server to end all processes of the program."""
        with suppress(ProcessLookupError):
            if self._init is not None:
                os.kill(self._init, signal.SIGTERM)
            elif self._reports.ended is None:
                os.kill(self._worker.fork_server_pid, signal.SIGTERM)

    def _kill(self, fork_server: bool) -> None:
        """Kill init, which did not do what `_stop` asked for, or the fork server, which still waits for the program."""
        with suppress(ProcessLookupError):
            if self._init is not None:
                os.kill(self._init, signal.SIGKILL)
            if fork_server:
                self._killed_at = self._killed_at or time.monotonic()
                os.kill(self._worker.fork_server_pid, signal.SIGKILL)


def _fork_init(setup: InitSetup) -> int:
    """Fork process 1 of the program's PID namespace; its process number."""
    alive, held = os.pipe()  # `held` stays open as long as this process lives
    pid = os.fork()
    if pid == 0:
        os.close(held)
        start_init(setup, alive)
    os.close(alive)
    return pid
