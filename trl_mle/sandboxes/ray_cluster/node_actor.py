"""What runs on a node of the cluster: an actor with a `LocalSandbox` of its own.

Replies are data, never exceptions, so that an exception of a call always means that the node or its actor is lost.
"""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import tempfile
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import trl_mle
from trl_mle.config import SandboxConfig
from trl_mle.errors import SandboxError, SandboxUnavailableError, UserError
from trl_mle.sandboxes.isolation import Layer
from trl_mle.sandboxes.local.sandbox import LocalSandbox
from trl_mle.sandboxes.ray_cluster import cleanup, public_files
from trl_mle.types import Execution, Limits, TaskSpec

_WORK = 60_000
_TIMES = 7
_REMEMBERED = 10_000
"""Cancelled calls that are kept in mind in case they arrive after their cancellation."""


@dataclass(frozen=True)
class Fault:
    """Why there is no `Execution`."""

    words: str
    may_have_started: bool = False
    lasting: bool = False
    """Whether the same would happen again."""
    unprepared: bool = False
    """Whether the task's files are not there, or not any more."""


@dataclass(frozen=True)
class Report:
    """What a node is."""

    host: str
    pid: int
    python: str
    version: str
    folder: str
    """Where it keeps what lies on the disk."""
    layers: tuple[Layer, ...]
    work_s: float
    """CPU seconds that a fixed piece of work takes here."""


class Node:
    """The actor. Its methods run in one event loop, which is the one of its `LocalSandbox`."""

    def __init__(self, config: SandboxConfig, version: str):
        self._config = config
        self._version = version
        self._calls: dict[int, asyncio.Task[Execution]] = {}
        self._cancelled: OrderedDict[int, None] = OrderedDict()
        self._tasks: dict[str, Path] = {}
        self._prepared = 0
        self._sandbox: LocalSandbox | None = None

    async def start(self) -> Report | Fault:
        """Start the workers."""
        logging.getLogger("trl_mle").setLevel(logging.WARNING)
        if trl_mle.__version__ != self._version:
            return Fault(f"it has trl_mle {trl_mle.__version__}, this process has {self._version}", lasting=True)
        try:
            self._folder = Path(
                os.path.realpath(tempfile.mkdtemp(prefix="trl-mle-node-", dir=self._config.scratch_dir))
            )
        except OSError as error:
            return Fault(f"`scratch_dir`={self._config.scratch_dir!r} cannot be used: {error}", lasting=True)
        self._sweeper = cleanup.start(str(self._folder))
        tempfile.tempdir = str(self._folder)  # of this process: what the sandbox writes is swept with the rest
        work_s = work_seconds()
        scratch_dir = None if self._config.scratch_dir is None else str(self._folder)
        sandbox = LocalSandbox(replace(self._config, scratch_dir=scratch_dir))
        try:
            await sandbox.__aenter__()
        except SandboxError as error:
            return Fault(str(error), lasting=isinstance(error, SandboxUnavailableError))
        self._sandbox = sandbox
        host = platform.node()
        folder = str(self._folder)
        return Report(
            host, os.getpid(), platform.python_version(), trl_mle.__version__, folder, sandbox.layers, work_s
        )

    async def prepare(self, key: str, pieces: list[Any]) -> Fault | None:
        """Unpack a task's public files, which lie in the object store as `pieces`."""
        self._prepared += 1
        folder = self._folder / f"task-{self._prepared}-{key[:8]}"
        loop = asyncio.get_running_loop()

        async def get(piece: Any) -> bytes:
            return await piece

        def fetched() -> Iterator[bytes]:
            for piece in pieces:
                yield asyncio.run_coroutine_threadsafe(get(piece), loop).result()

        try:
            folder.mkdir(mode=0o700)
            await asyncio.to_thread(public_files.unpack, fetched(), str(folder / "public"))
        except Exception as error:  # the object is lost, the disk is full ...
            return Fault(f"the task's public files could not be put there: {type(error).__name__}: {error}")
        self._tasks[key] = folder
        return None

    async def run(
        self, call: int, key: str, code: str, source: str | None, task: TaskSpec, limits: Limits
    ) -> Execution | Fault:
        """Run a program; see [`LocalSandbox.run`]."""
        if self._sandbox is None:
            return Fault("the sandbox of the node is closed")
        if key not in self._tasks or not await asyncio.to_thread(_is_whole, self._tasks[key]):
            self._tasks.pop(key, None)
            return Fault("the files of the task are not there any more", unprepared=True)
        if call in self._cancelled:
            del self._cancelled[call]
            return Fault("the program was cancelled before it came here")
        task = replace(task, folder=self._tasks[key])
        self._calls[call] = asyncio.ensure_future(self._sandbox.run(code, task, limits, source=source))
        try:
            return await self._calls[call]
        except asyncio.CancelledError:
            return Fault("the program was cancelled", may_have_started=True)
        except SandboxError as error:
            return Fault(str(error), error.may_have_started, isinstance(error, SandboxUnavailableError))
        except UserError as error:
            return Fault(str(error), lasting=True)
        except Exception as error:
            return Fault(f"{type(error).__name__}: {error}", may_have_started=True)
        finally:
            del self._calls[call]

    async def cancel(self, call: int) -> None:
        """Stop a program; returns when it is gone, with all its processes."""
        running = self._calls.get(call)
        if running is None:  # over, or on its way
            self._cancelled[call] = None
            if len(self._cancelled) > _REMEMBERED:
                self._cancelled.popitem(last=False)
            return
        running.cancel()
        await asyncio.wait({running})

    async def stop(self) -> None:
        """End the workers and remove what is on the disk."""
        sandbox, self._sandbox = self._sandbox, None
        if sandbox is not None:
            await sandbox.__aexit__(None, None, None)


def _is_whole(folder: Path) -> bool:
    """Whether a task's files are still there: what cleans the temporary folder removes the oldest."""
    return (folder / "public").is_dir() and any((folder / "public").iterdir())


def work_seconds() -> float:
    """CPU seconds that a fixed piece of work takes on this core: the best of some tries, so that its load does not count."""
    times = []
    for _ in range(_TIMES):
        began = time.thread_time()
        total = 0
        for number in range(_WORK):
            total += number * number % 7
        times.append(time.thread_time() - began)
    return min(times)
