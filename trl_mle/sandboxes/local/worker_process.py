"""The host's side of one worker: start it, ask it to run a program, stop it."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from trl_mle.errors import SandboxError, SandboxUnavailableError
from trl_mle.sandboxes.local.runner import protocol
from trl_mle.sandboxes.local.runner.limits import workdir
from trl_mle.sandboxes.local.runner.limits.proc import kill_tree
from trl_mle.sandboxes.local.runner.worker_command import command, environment
from trl_mle.types import Execution

_STOP_S = 15.0
_RETRY_S = 0.01
_STDERR_BYTES = 4000


class NotTakenError(SandboxError):
    """The worker ended before it took the program."""

    def __init__(self, message: str):
        super().__init__(message, may_have_started=False)


class WorkerProcess:
    """One warm interpreter, started by exec: the host's threads and memory never reach it.

    Use [`WorkerProcess.start`]; the worker ends when [`WorkerProcess.stop`] is called or the host's process ends.
    """

    def __init__(self, process: subprocess.Popen[bytes], folder: Path, errors: IO[bytes]):
        self.process = process
        self.folder = folder
        self.layers: dict[str, Any] = {}
        """Fields of `runner.isolation.probe.Layers`, once the worker is ready."""
        self._errors = errors
        self._ending = asyncio.Lock()
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    @classmethod
    async def start(cls, python: str, folder: Path, settings: dict[str, Any], startup_s: float) -> WorkerProcess:
        """Start a worker that keeps its programs' folders in `folder`, and wait until it has imported what it should.

        Raises:
            SandboxError: it ended or was not ready within `startup_s` seconds; the message holds what it wrote.
        """
        host_end, worker_end = socket.socketpair()
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `stop`
        try:
            folder.mkdir(mode=0o700)
            with worker_end:
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
            host_end.close()
            errors.close()
            raise SandboxError(f"a worker could not be started with `python`={python!r}: {error}") from error
        worker = cls(process, folder, errors)
        try:
            worker._reader, worker._writer = await asyncio.open_connection(sock=host_end)
            message = {**settings, "folder": str(folder), "host_pid": os.getpid()}
            answer = (await worker._exchange([message], startup_s))[0]
            if "unusable" in answer:
                raise SandboxUnavailableError(
                    f"`python`={python!r} cannot import what `SandboxConfig.preload` names: {answer['unusable']}. Install "
                    "it there, or change `preload`."
                )
            worker.layers = answer["layers"]
        except TimeoutError:
            written = worker._written()
            await worker.stop()
            raise SandboxError(f"a worker was not ready within {startup_s:g} s. It wrote: {written}") from None
        except BaseException:
            await asyncio.shield(worker.stop())
            raise
        return worker

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process.poll() is None

    async def ask(self, messages: list[dict[str, Any]], timeout_s: float) -> tuple[dict[str, Any], list[bytes]]:
        """Send `messages`, which make one request together, and return the reply with its blobs.

        Raises:
            NotTakenError: the worker had ended before; nothing of the request has begun.
            SandboxError: the worker is gone, or said nothing for `timeout_s` seconds. It cannot be used any more.
        """
        try:
            return await self._exchange(messages, timeout_s)
        except TimeoutError:
            raise SandboxError(f"a worker did not answer within {timeout_s:g} s") from None

    async def stop(self) -> None:
        """End the worker with the program that it runs, and remove its folder."""
        if hasattr(self, "_writer"):
            # The worker kills its program and leaves. The end of the stream alone would mean that the host has died.
            self._writer.write(protocol.pack({"stop": True}))
            self._writer.close()
        await self._ended()
        self._errors.close()

    async def _ended(self) -> None:
        async with self._ending:
            await asyncio.to_thread(self._wait)

    def _wait(self) -> None:
        try:
            self.process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            kill_tree(self.process.pid)  # it hangs
            self.process.wait()
        deadline = time.monotonic() + _STOP_S
        while self.folder.exists():
            try:
                workdir.remove(str(self.folder))
            except OSError as error:  # the kernel has not ended the program of a killed worker yet: it still writes
                if time.monotonic() > deadline:
                    raise SandboxError(f"the folder {self.folder} could not be removed: {error}") from error
                time.sleep(_RETRY_S)

    async def _exchange(self, messages: list[dict[str, Any]], timeout_s: float) -> tuple[dict[str, Any], list[bytes]]:
        try:
            async with asyncio.timeout(timeout_s):
                self._writer.write(b"".join(map(protocol.pack, messages)))
                await self._writer.drain()
                size = protocol.LENGTH.unpack(await self._reader.readexactly(protocol.LENGTH.size))[0]
                reply = json.loads(await self._reader.readexactly(size))
                blobs = [await self._reader.readexactly(length) for length in reply.pop("blobs")]
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            await self._ended()
            kind = NotTakenError if self.process.returncode == protocol.NOT_TAKEN else SandboxError
            raise kind(
                f"a worker ended with exit code {self.process.returncode}. It wrote: {self._written()}"
            ) from error
        return reply, blobs

    def _written(self) -> str:
        if self._errors.closed:  # stopped from elsewhere
            return "(nothing)"
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - _STDERR_BYTES))
        return self._errors.read().decode("utf-8", "replace").strip() or "(nothing)"


def to_execution(reply: dict[str, Any], blobs: Sequence[bytes]) -> Execution:
    """What happened, from the reply of a worker that tells of no fault."""
    stdout, stderr, *submission = blobs
    return Execution(
        stdout=stdout.decode("utf-8", "replace"),
        stderr=stderr.decode("utf-8", "replace"),
        submission=submission[0] if submission else None,
        **reply,
    )
