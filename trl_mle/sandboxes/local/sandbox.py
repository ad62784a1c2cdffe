"""`LocalSandbox`: programs on this machine, in warm workers, confined by the kernel."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from trl_mle.config import SandboxConfig
from trl_mle.errors import ConfigError, SandboxError, SandboxUnavailableError
from trl_mle.sandboxes.base import check_limits, default_limits
from trl_mle.sandboxes.isolation import Layer, describe, from_worker
from trl_mle.sandboxes.local.runner.limits import workdir
from trl_mle.sandboxes.local.worker_process import NotTakenError, WorkerProcess, to_execution
from trl_mle.types import Execution, Limits, TaskSpec

_logger = logging.getLogger(__name__)

_STARTUP_S = 180.0
_ANSWER_S = 120.0
"""How long after the wall-clock limit of a program its worker may take to say what happened, in seconds."""


@dataclass
class _Slot:
    """Room for one program at a time."""

    number: int
    worker: WorkerProcess | None = None
    starts: int = 0
    in_use: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by the call whose program has the slot, until its worker is idle or gone."""


class LocalSandbox:
    """Runs programs on this machine; see [`Sandbox`] for how to use it.

    Each worker has imported the usual libraries once and forks a child for every program. A child finds nothing of the
    host but the interpreter, the packages that its task allows and the task's public files; it cannot read the answers
    or the environment, reaches no network, and leaves no process, file or memory behind. Which layers of isolation this
    machine offers is found when the sandbox starts: see `layers`, `describe()` and `trl-mle doctor`.

    What printing, memory and time-outs look like: stdout is line-buffered, so that a killed program's output is kept;
    memory is the resident memory of all its processes together; what it writes is kept in memory too, up to
    `Limits.work_bytes`, unless there is a `scratch_dir`; a program that the sandbox stops has a last line on stderr that
    says why. A task may only use packages that the interpreter `python` has installed.

    Args:
        config (`SandboxConfig`, *optional*):
            All of the settings below but the last two. Give either this or the keywords.
        workers (`int`, *optional*):
            Programs that run at the same time. Defaults to the number of cores that this process may use.
        isolation (`str`, *optional*, defaults to `"required"`):
            `"none"` runs programs even where they could read the answers.
        wall_s (`float`, *optional*):
            Wall-clock limit of a program in seconds. Defaults to the task's own.
        python (`str`, *optional*):
            Interpreter for the programs. Defaults to this one.
        scratch_dir (`str` or `Path`, *optional*):
            Folder on disk for what programs write, as `SandboxConfig.scratch_dir`.

    Example:

    ```python
    async with LocalSandbox(workers=4) as sandbox:
        execution = await sandbox.run(code, task)
    ```
    """

    def __init__(
        self,
        config: SandboxConfig | None = None,
        *,
        workers: int | None = None,
        isolation: Literal["required", "none"] = "required",
        wall_s: float | None = None,
        python: str = sys.executable,
        scratch_dir: str | os.PathLike[str] | None = None,
    ):
        if config is not None and (workers, isolation, wall_s) != (None, "required", None):
            raise ConfigError(
                f"`config` and the keywords `workers`={workers}, `isolation`={isolation!r}, `wall_s`={wall_s} were "
                "both given; put the values into `SandboxConfig`."
            )
        self.config = config or SandboxConfig(workers=workers, isolation=isolation, wall_s=wall_s)
        self.workers = self.config.workers or _cores()
        # A worker has another working directory.
        self.python = os.path.abspath(python) if os.sep in python else python
        self.scratch_dir = self.config.scratch_dir if scratch_dir is None else scratch_dir
        self.layers: tuple[Layer, ...] = ()
        """Layers of isolation on this machine, known once the sandbox has started."""
        self._without: tuple[str, ...] = ()
        """Layers that workers treat as missing; for tests of the fall-backs."""
        self._startup_s = _STARTUP_S
        self._closing = False
        self._folder: Path | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._slots: list[_Slot] = []
        self._idle: asyncio.Queue[_Slot]

    def describe(self) -> str:
        """The layers of isolation as a table in text, or that they are not known yet."""
        return describe(self.layers)

    async def __aenter__(self) -> LocalSandbox:
        if self._loop is not None:
            raise SandboxUnavailableError("This `LocalSandbox` is running already; start it once.")
        self._loop = asyncio.get_running_loop()
        self.layers = ()
        self._closing = False
        try:
            self._folder = Path(os.path.realpath(tempfile.mkdtemp(prefix="trl-mle-", dir=self.scratch_dir)))
            self._slots = [_Slot(number) for number in range(self.workers)]
            # The first one shows whether this machine will do before all the others are started.
            first, *others = self._slots
            self._check_layers((await self._worker(first)).layers)
            await _all_or_error(self._worker(slot) for slot in others)
            self._idle = asyncio.Queue()
            for slot in self._slots:
                self._idle.put_nowait(slot)
        except OSError as error:
            await self.__aexit__()
            place = (
                "The system's temporary folder" if self.scratch_dir is None else f"`scratch_dir`={self.scratch_dir!r}"
            )
            raise SandboxUnavailableError(
                f"{place} cannot hold the programs' folders: {error.strerror}. Make it a folder that this user can "
                "write to, or choose another."
            ) from error
        except BaseException:
            await asyncio.shield(self.__aexit__())
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._closing = True
        slots, self._slots = self._slots, []
        self._loop = None
        try:
            await _all_or_error(_stop(slot) for slot in slots)
            for slot in slots:
                # A call that was cancelled just before may still be stopping a worker, or starting one.
                async with slot.in_use:
                    pass
        finally:
            folder, self._folder = self._folder, None
            if folder is not None and folder.exists():
                await asyncio.to_thread(workdir.remove, str(folder))

    async def run(
        self, code: str, task: TaskSpec, limits: Limits | None = None, *, source: str | None = None
    ) -> Execution:
        """Run `code` with the task's public files under `./input/` and return what happened.

        Waits for a free worker; that time is no part of the execution. When the call is cancelled, the program and all
        its processes are gone before it returns.

        Raises:
            SandboxUnavailableError: the sandbox is not started, or lacks a package or folder that the task needs.
            SandboxError: the sandbox failed; nothing is known about the program, but whether it `may_have_started`.
        """
        self._check_running()
        limits = limits or self.limits_for(task)
        check_limits(limits)
        slot = await self._idle.get()
        await slot.in_use.acquire()
        try:
            public = os.path.realpath(task.public_dir)
            needs = {
                "packages": list(task.packages),
                "hidden": [str(task.folder), str(Path(__file__).parents[1]), os.path.expanduser("~")],
                "public": public,
            }
            request = {
                "code": code,
                "source": code if source is None else source,
                "public": public,
                "limits": asdict(limits),
            }
            reply, blobs = await self._ask(slot, [needs, request], limits.wall_s + _ANSWER_S)
            if "fault" in reply and not reply["lasting"]:
                await _stop(slot)  # whatever it was, the next program gets a new worker
        except BaseException:  # a fault or a cancellation: what the worker does now is unknown
            await asyncio.shield(_stop(slot))
            raise
        finally:
            slot.in_use.release()
            self._idle.put_nowait(slot)
        if "fault" in reply:
            self._raise(reply, task)
        return to_execution(reply, blobs)

    def limits_for(self, task: TaskSpec) -> Limits:
        """The limits of a program of `task` if `run` gets none."""
        return default_limits(task, self.config.wall_s)

    async def _ask(
        self, slot: _Slot, messages: list[dict[str, Any]], timeout_s: float
    ) -> tuple[dict[str, Any], list[bytes]]:
        """The reply of the slot's worker, or of a new one where the old one had ended before the program began."""
        try:
            return await (await self._worker(slot)).ask(messages, timeout_s)
        except NotTakenError:
            return await (await self._worker(slot)).ask(messages, timeout_s)

    async def _worker(self, slot: _Slot) -> WorkerProcess:
        """The worker of `slot`, a new one where it has none or a dead one."""
        if slot.worker is not None and not slot.worker.alive:
            _logger.warning("worker %d ended by itself and is replaced", slot.number)
            await _stop(slot)
        if self._closing or self._folder is None:
            raise _not_started("the sandbox was closed while the program waited for a worker")
        if slot.worker is None:
            slot.starts += 1
            folder = self._folder / f"worker-{slot.number}-{slot.starts}"
            settings = {
                "preload": list(self.config.preload),
                "without": list(self._without),
                "in_memory": self.scratch_dir is None,
            }
            try:
                worker = slot.worker = await WorkerProcess.start(self.python, folder, settings, self._startup_s)
            except SandboxError as error:
                error.may_have_started = False
                raise
            found = from_worker(worker.layers)
            if self._closing:
                await _stop(slot)
                raise _not_started("the sandbox was closed while a worker started")
            if self.layers and found != self.layers:
                await _stop(slot)
                raise _not_started(
                    f"a new worker has found other layers of isolation than the first:\n{describe(found)}"
                )
        return slot.worker

    def _check_running(self) -> None:
        if self._loop is None:
            raise SandboxUnavailableError("This `LocalSandbox` is not running; use `async with sandbox:` around it.")
        if self._loop is not asyncio.get_running_loop():
            raise SandboxUnavailableError("This `LocalSandbox` was started in another event loop; use that one.")

    def _check_layers(self, found: dict[str, Any]) -> None:
        self.layers = from_worker(found)
        missing = [layer for layer in self.layers if not layer.active]
        unsafe = [layer.name for layer in missing if layer.required]  # each only where the other one is missing
        if unsafe and self.config.isolation == "required":
            raise SandboxUnavailableError(
                f"Programs could read the answers on this machine: the layers {' and '.join(unsafe)} are missing (the "
                "first needs Linux 5.12 or later with user namespaces allowed, the second Linux 5.13 or later with "
                "Landlock enabled; `trl-mle doctor` tells more). To run all the same, for programs that you trust, set "
                '`sandbox_isolation: none` in the recipe, or `SandboxConfig(isolation="none")`.'
            )
        for layer in missing:
            _logger.warning("the sandbox lacks the layer %s: %s", layer.name, layer.without)

    def _raise(self, reply: dict[str, Any], task: TaskSpec) -> None:
        if reply["lasting"]:
            raise SandboxUnavailableError(
                f"Task {task.id!r} cannot run with `python`={self.python!r}: {reply['fault']}."
            )
        raise SandboxError(reply["fault"], may_have_started=reply["may_have_started"])


def _not_started(message: str) -> SandboxError:
    return SandboxError(message, may_have_started=False)


async def _stop(slot: _Slot) -> None:
    worker, slot.worker = slot.worker, None
    if worker is not None:
        await worker.stop()


async def _all_or_error(actions: Any) -> None:
    """Await all, also after one has failed, then raise the first error."""
    for result in await asyncio.gather(*actions, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
