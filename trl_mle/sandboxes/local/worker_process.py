"""The host's side of one worker: start it, ask it to run a program, stop it."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from trl_mle.errors import SandboxError, SandboxUnavailableError
from trl_mle.sandboxes.local.runner import frames
from trl_mle.sandboxes.local.runner.limits import removal
from trl_mle.sandboxes.local.runner.limits.proc import kill_tree
from trl_mle.sandboxes.local.runner.protocol import (
    NOT_TAKEN,
    Layers,
    Message,
    ProgramFault,
    ProgramRequest,
    ProgramResult,
    Reply,
    Stop,
    TaskFiles,
    WorkerReady,
    WorkerSettings,
    WorkerUnusable,
)
from trl_mle.sandboxes.local.runner.worker_command import command, environment
from trl_mle.sandboxes.local.timing import LocalTiming
from trl_mle.types import Execution, Limits

_logger = logging.getLogger(__name__)

_STDERR_BYTES = 4000


class NotTakenError(SandboxError):
    """The worker ended before it took the program."""

    def __init__(self, message: str):
        super().__init__(message, may_have_started=False)


class WorkerProcess:
    """One interpreter with preloaded libraries, started by exec: the host's threads and memory never reach it.

    Use [`WorkerProcess.start`]; the worker ends when [`WorkerProcess.stop`] is called or the host's process ends.
    """

    def __init__(self, process: subprocess.Popen[bytes], folder: Path, errors: IO[bytes], timing: LocalTiming):
        self.process = process
        self.folder = folder
        self.layers = Layers()
        """The layers that the worker has found, once it is ready."""
        self.python = ""
        """Version of the programs' interpreter, once the worker is ready."""
        self._removals_failed = 0
        self._timing = timing
        self._errors = errors
        self._ending = asyncio.Lock()
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    @classmethod
    async def start(cls, python: str, settings: WorkerSettings, timing: LocalTiming) -> WorkerProcess:
        """Start a worker with the interpreter `python`, and wait until it has imported what it should.

        Raises:
            SandboxError: the worker ended or was not ready in time. The message holds what it wrote.
        """
        folder = Path(settings.folder)
        with ExitStack() as opened:
            try:
                host_end, worker_end = map(opened.enter_context, socket.socketpair())
                errors = opened.enter_context(tempfile.TemporaryFile())
                folder.mkdir(mode=0o700)
                process = subprocess.Popen(
                    command(python, worker_end.fileno()),
                    stdin=subprocess.DEVNULL,
                    stdout=errors,
                    stderr=errors,
                    env=environment(folder),
                    cwd="/",
                    pass_fds=(worker_end.fileno(),),
                    start_new_session=True,
                )
            except OSError as error:
                raise SandboxError(f"a worker could not be started with `python`={python!r}: {error}") from error
            worker_end.close()
            opened.pop_all()  # from here on `stop` closes them
        worker = cls(process, folder, errors, timing)
        try:
            worker._reader, worker._writer = await asyncio.open_connection(sock=host_end)
            answer = await worker._exchange([settings], timing.startup_s, WorkerReady, WorkerUnusable)
            if isinstance(answer, WorkerUnusable):
                raise SandboxUnavailableError(
                    f"`python`={python!r} cannot import what `SandboxConfig.preload` names: {answer.reason}. Install "
                    "it there, or change `preload`."
                )
            worker.layers, worker.python = answer.layers, answer.python
        except TimeoutError:
            written = worker._written()
            await worker.stop()
            raise SandboxError(f"a worker was not ready within {timing.startup_s:g} s. It wrote: {written}") from None
        except BaseException:
            await asyncio.shield(worker.stop())
            raise
        return worker

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process.poll() is None

    @property
    def removals_failed(self) -> int:
        """Number of times that a folder of a program, or that of this worker, could not be removed."""
        self._removals_failed = max(self._removals_failed, removal.failures(self.folder))
        return self._removals_failed

    async def ask(self, files: TaskFiles, request: ProgramRequest, timeout_s: float) -> Reply:
        """Have the worker run the program of `request`, and return its reply.

        Raises:
            NotTakenError: the worker had ended before. Nothing of the request has begun.
            SandboxError: the worker is gone, or said nothing for `timeout_s` seconds. It cannot be used any more.
        """
        try:
            return await self._exchange([files, request], timeout_s, ProgramResult, ProgramFault)
        except TimeoutError:
            raise SandboxError(f"a worker did not answer within {timeout_s:g} s") from None

    async def stop(self) -> None:
        """End the worker with the program that it runs, and remove its folder."""
        _ = self.removals_failed  # its record is removed with the folder
        if hasattr(self, "_writer"):
            # The worker kills its program and leaves. The end of the stream alone would mean that the host has died.
            self._writer.write(frames.pack(Stop()))
            self._writer.close()
        await self._ended()
        self._errors.close()

    async def _ended(self) -> None:
        # A stop and an exchange may both wait for the end; the folder is removed once.
        async with self._ending:
            await asyncio.to_thread(self._wait)

    def _wait(self) -> None:
        try:
            self.process.wait(self._timing.stop_s)
        except subprocess.TimeoutExpired:
            # It hangs, perhaps stopped by a signal, and would not kill its program.
            kill_tree(self.process.pid)
            self.process.wait()
        deadline = time.monotonic() + self._timing.stop_s
        while self.folder.exists():
            try:
                removal.remove(str(self.folder))
            except OSError as error:  # the kernel has not ended the program of a killed worker yet: it still writes
                if time.monotonic() > deadline:
                    # Counted and no fault: what a program has left behind must not decide what it is worth.
                    self._removals_failed = self.removals_failed + 1
                    _logger.warning("the folder %s could not be removed: %s", self.folder, error)
                    return
                time.sleep(self._timing.retry_s)

    async def _exchange(self, messages: list[Message], timeout_s: float, *kinds: type[Any]) -> Any:
        """Send `messages` and return the worker's answer, which is one of `kinds`."""
        try:
            async with asyncio.timeout(timeout_s):
                self._writer.write(b"".join(map(frames.pack, messages)))
                await self._writer.drain()
                body_bytes, blob_bytes = frames.sizes(await self._reader.readexactly(frames.HEADER.size))
                body = await self._reader.readexactly(body_bytes)
                return frames.expect(frames.decode(body, await self._reader.readexactly(blob_bytes)), *kinds)
        except frames.FrameError as error:
            raise SandboxError(f"a worker's answer cannot be read: {error}") from error
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            await self._ended()
            kind = NotTakenError if self.process.returncode == NOT_TAKEN else SandboxError
            raise kind(
                f"a worker ended with exit code {self.process.returncode}. It wrote: {self._written()}"
            ) from error

    def _written(self) -> str:
        if self._errors.closed:  # stopped from elsewhere
            return "(nothing)"
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - _STDERR_BYTES))
        return self._errors.read().decode("utf-8", "replace").strip() or "(nothing)"


def to_execution(result: ProgramResult) -> Execution:
    """What happened, as the rest of the package knows it."""
    return Execution(
        status=result.status,
        exit_code=result.exit_code,
        wall_s=result.wall_s,
        cpu_s=result.cpu_s,
        max_rss_bytes=result.max_rss_bytes,
        stdout=result.stdout.decode("utf-8", "replace"),
        stderr=result.stderr.decode("utf-8", "replace"),
        stdout_cut_bytes=result.stdout_cut_bytes,
        stderr_cut_bytes=result.stderr_cut_bytes,
        submission=result.submission,
        submission_reason=result.submission_reason,
        files=result.files,
        files_cut=result.files_cut,
    )


def killed_execution(reason: str, wall_s: float, limits: Limits, cpu_s: float | None = None) -> Execution:
    """The execution of a program that ended a process of the sandbox, and itself with it.

    Args:
        reason (`str`): what happened to the process.
        wall_s (`float`): seconds since the program was sent.
        limits (`Limits`): those of the program.
        cpu_s (`float`, *optional*): CPU seconds that were measured last. If the process that measures is the one that ended, they
            are unknown, and the wall-clock seconds stand in: with 0 the penalty would weigh less under `duration_clock: cpu`.
    """
    return Execution(
        status="killed",
        exit_code=None,
        wall_s=min(wall_s, limits.wall_s),
        cpu_s=min(wall_s, limits.wall_s) if cpu_s is None else cpu_s,
        max_rss_bytes=0,
        stdout="",
        stderr=f"A process of the sandbox ended while the program ran: {reason}\n",
    )
