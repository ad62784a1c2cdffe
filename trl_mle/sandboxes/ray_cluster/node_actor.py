"""The actor that runs on a node of the cluster, with a `LocalSandbox` of its own.

Its methods return faults as data and never raise them. An exception of a call therefore always means that the node or its
actor is lost.
"""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import tempfile
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import trl_mle
from trl_mle.config import SandboxConfig
from trl_mle.errors import SandboxError, SandboxUnavailableError, UserError
from trl_mle.sandboxes.isolation import Layer
from trl_mle.sandboxes.local.sandbox import LocalSandbox
from trl_mle.sandboxes.ray_cluster import archive_stream, cleanup
from trl_mle.types import Execution, Limits, TaskSpec

_WORK = 60_000
_TIMES = 7
_REMEMBERED = 10_000
"""Number of cancelled calls that are remembered, because a call can arrive after its cancellation."""


@dataclass(frozen=True)
class NodeFault:
    """Why there is no `Execution`."""

    message: str
    may_have_started: bool = False
    is_permanent: bool = False
    """Whether another try would fail in the same way."""
    lacks_files: bool = False
    """Whether the node does not have the task's public files."""


@dataclass(frozen=True)
class NodeReport:
    """Facts about a node whose actor is ready."""

    host: str
    pid: int
    python: str
    version: str
    folder: str
    """Folder of the actor on the node's disk."""
    layers: tuple[Layer, ...]
    work_s: float
    """CPU seconds that a fixed piece of work takes on the node."""


class NodeActor:
    """The actor. Its methods run in one event loop, the one of its `LocalSandbox`."""

    def __init__(self, config: SandboxConfig, version: str):
        self._config = config
        self._version = version
        self._calls: dict[int, asyncio.Task[Execution]] = {}
        self._cancelled: OrderedDict[int, None] = OrderedDict()
        self._tasks: dict[str, Path] = {}
        self._prepared = 0
        self._sandbox: LocalSandbox | None = None

    async def start(self) -> NodeReport | NodeFault:
        """Start the workers."""
        logging.getLogger("trl_mle").setLevel(logging.WARNING)
        if trl_mle.__version__ != self._version:
            return NodeFault(
                f"it has trl_mle {trl_mle.__version__}, this process has {self._version}", is_permanent=True
            )
        try:
            self._folder = Path(
                os.path.realpath(tempfile.mkdtemp(prefix="trl-mle-node-", dir=self._config.scratch_dir))
            )
        except OSError as error:
            return NodeFault(f"`scratch_dir`={self._config.scratch_dir!r} cannot be used: {error}", is_permanent=True)
        self._cleanup = cleanup.start(str(self._folder))
        tempfile.tempdir = str(self._folder)  # the sandbox writes below it, so that the cleanup covers its files
        work_s = work_seconds()
        scratch_dir = None if self._config.scratch_dir is None else str(self._folder)
        sandbox = LocalSandbox(replace(self._config, scratch_dir=scratch_dir))
        try:
            await sandbox.__aenter__()
        except SandboxError as error:
            return NodeFault(str(error), is_permanent=isinstance(error, SandboxUnavailableError))
        self._sandbox = sandbox
        host = platform.node()
        folder = str(self._folder)
        return NodeReport(
            host, os.getpid(), platform.python_version(), trl_mle.__version__, folder, sandbox.layers, work_s
        )

    async def prepare(self, key: str, pieces: list[Any]) -> NodeFault | None:
        """Unpack a task's public files, whose `pieces` lie in the object store."""
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
            await asyncio.to_thread(archive_stream.unpack, fetched(), str(folder / "public"))
        except Exception as error:  # the object is lost, the disk is full ...
            return NodeFault(f"the task's public files could not be put there: {type(error).__name__}: {error}")
        self._tasks[key] = folder
        return None

    async def run(
        self,
        call: int,
        key: str,
        code: str,
        source: str | None,
        task: TaskSpec,
        limits: Limits,
        files: Mapping[str, bytes] | None = None,
    ) -> Execution | NodeFault:
        """Run a program; see [`LocalSandbox.run`]."""
        if self._sandbox is None:
            return NodeFault("the sandbox of the node is closed")
        if key not in self._tasks or not await asyncio.to_thread(_is_whole, self._tasks[key]):
            self._tasks.pop(key, None)
            return NodeFault("the files of the task are not there any more", lacks_files=True)
        if call in self._cancelled:
            del self._cancelled[call]
            return NodeFault("the program was cancelled before it came here")
        task = replace(task, folder=self._tasks[key])
        self._calls[call] = asyncio.ensure_future(self._sandbox.run(code, task, limits, source=source, files=files))
        try:
            return await self._calls[call]
        except asyncio.CancelledError:
            return NodeFault("the program was cancelled", may_have_started=True)
        except SandboxError as error:
            return NodeFault(str(error), error.may_have_started, isinstance(error, SandboxUnavailableError))
        except UserError as error:
            return NodeFault(str(error), is_permanent=True)
        except Exception as error:
            return NodeFault(f"{type(error).__name__}: {error}", may_have_started=True)
        finally:
            del self._calls[call]

    async def cancel(self, call: int) -> None:
        """Stop a program. Returns when all of its processes are gone."""
        running = self._calls.get(call)
        if running is None:  # it has ended, or has not arrived yet
            self._cancelled[call] = None
            if len(self._cancelled) > _REMEMBERED:
                self._cancelled.popitem(last=False)
            return
        running.cancel()
        await asyncio.wait({running})

    async def stop(self) -> None:
        """End the workers and remove their files."""
        sandbox, self._sandbox = self._sandbox, None
        if sandbox is not None:
            await sandbox.__aexit__(None, None, None)


def _is_whole(folder: Path) -> bool:
    """Whether a task's files are still there: cleaners of the temporary folder remove old files first."""
    return (folder / "public").is_dir() and any((folder / "public").iterdir())


def work_seconds() -> float:
    """CPU seconds that a fixed piece of work takes on this core: the minimum of several tries, which other load affects least."""
    times = []
    for _ in range(_TIMES):
        began = time.thread_time()
        total = 0
        for number in range(_WORK):
            total += number * number % 7
        times.append(time.thread_time() - began)
    return min(times)
