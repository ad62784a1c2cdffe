"""`LocalSandbox`: programs on this machine, in workers with preloaded libraries, confined by the kernel."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import tempfile
import time
from collections.abc import Hashable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from trl_mle.config import SandboxConfig, usable_cores
from trl_mle.errors import ConfigError, SandboxError, SandboxUnavailableError
from trl_mle.sandboxes.base import check_limits, default_limits
from trl_mle.sandboxes.isolation import Layer, describe, from_worker
from trl_mle.sandboxes.kept_files import check_files
from trl_mle.sandboxes.local.runner.limits import removal
from trl_mle.sandboxes.local.runner.protocol import (
    Layers,
    ProgramFault,
    ProgramLimits,
    ProgramRequest,
    Reply,
    TaskFiles,
    WorkerSettings,
)
from trl_mle.sandboxes.local.slot import Slot, processes_of_machine
from trl_mle.sandboxes.local.timing import LocalTiming
from trl_mle.sandboxes.local.worker_process import NotTakenError, WorkerProcess, killed_execution, to_execution
from trl_mle.sandboxes.python_version import warn_of_version
from trl_mle.types import Execution, Limits, TaskSpec

_logger = logging.getLogger(__name__)

_PACKAGE = Path(__file__).parents[2]


class LocalSandbox:
    """A [`Sandbox`] that runs programs on this machine.

    Each worker has imported the usual libraries once and forks a child for every program. A child sees only the
    interpreter, the packages that its task allows and the task's public files. It cannot read the answers or the
    environment, reaches no network, and leaves no process, file or memory behind. The layers of isolation that this machine
    offers are found when the sandbox starts: see `layers`, `describe()` and `trl-mle doctor`.

    - Output: stdout is line-buffered, so that a killed program's output is kept. A program that the sandbox stops has a last
      line on stderr that says why.
    - Memory: the limit is on the resident memory of all processes of a program together.
    - Files: what a program writes is kept in memory, up to `Limits.work_bytes`, unless there is a `scratch_dir`.
    - Packages: a task may use only packages that the interpreter `python` has installed.

    Args:
        config (`SandboxConfig`, *optional*):
            All of the settings below except the last three. Give either this or the keywords.
        workers (`int`, *optional*):
            Number of programs that run at the same time. Defaults to the number of cores that this process may use, divided by the
            number of processes that torchrun or accelerate has started on this machine.
        isolation (`str`, *optional*, defaults to `"required"`):
            `"none"` runs programs even if they could read the answers.
        wall_s (`float`, *optional*):
            Wall-clock limit of a program in seconds. Defaults to the task's own.
        memory_bytes (`int`, *optional*):
            Limit of resident memory of a program in bytes. Defaults to the task's own.
        python (`str`, *optional*):
            Interpreter for the programs. Defaults to this one.
        scratch_dir (`str` or `Path`, *optional*):
            Folder on disk for what programs write, as `SandboxConfig.scratch_dir`.
        timing (`LocalTiming`, *optional*):
            How long the sandbox waits for its own processes.

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
        memory_bytes: int | None = None,
        python: str = sys.executable,
        scratch_dir: str | os.PathLike[str] | None = None,
        timing: LocalTiming | None = None,
    ):
        if config is not None and not isinstance(config, SandboxConfig):
            raise ConfigError(f"`config` is {config!r}; give a `SandboxConfig`, or keywords such as `workers=4`.")
        if config is not None and (workers, isolation, wall_s, memory_bytes) != (None, "required", None, None):
            raise ConfigError(
                f"`config` and the keywords `workers`={workers}, `isolation`={isolation!r}, `wall_s`={wall_s}, "
                f"`memory_bytes`={memory_bytes} were both given; put the values into `SandboxConfig`."
            )
        self.config = config or SandboxConfig(
            workers=workers, isolation=isolation, wall_s=wall_s, memory_bytes=memory_bytes
        )
        self.workers = self.config.workers or max(1, usable_cores() // processes_of_machine())
        # A worker has another working directory.
        self.python = os.path.abspath(python) if os.sep in python else python
        self.scratch_dir = self.config.scratch_dir if scratch_dir is None else scratch_dir
        self.layers: tuple[Layer, ...] = ()
        """Layers of isolation on this machine, known once the sandbox has started."""
        self._without: tuple[str, ...] = ()
        """Layers that workers treat as missing; for tests of the fall-backs."""
        self._timing = timing or LocalTiming()
        self._closing = False
        self._removals_failed = 0
        """Failed removals that are not in `take_metrics` yet, except those of the present slots."""
        self._folder: Path | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._slots: list[Slot] = []
        self._idle: asyncio.Queue[Slot]

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
            self._slots = [Slot(number) for number in range(self.workers)]
            # The first worker shows whether this machine is suitable before the others are started.
            first, *others = self._slots
            first_worker = await self._worker(first)
            self._check_layers(first_worker.layers)
            fix = "Let `python` be an interpreter of that version, or train with this one."
            warn_of_version(_logger, first_worker.python, f"`python`={self.python!r}", fix)
            await _all_or_error(self._worker(slot) for slot in others)
            self._idle = asyncio.Queue()
            for slot in self._slots:
                self._idle.put_nowait(slot)
        except OSError as error:
            await self.__aexit__()
            folder = (
                "The system's temporary folder" if self.scratch_dir is None else f"`scratch_dir`={self.scratch_dir!r}"
            )
            raise SandboxUnavailableError(
                f"{folder} cannot hold the programs' folders: {error.strerror}. Make it a folder that this user can "
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
            await _all_or_error(slot.stop() for slot in slots)
            for slot in slots:
                # A call that was cancelled just before may still be stopping a worker, or starting one.
                async with slot.in_use:
                    pass
                self._removals_failed += slot.take_removals_failed()
        finally:
            folder, self._folder = self._folder, None
            if folder is not None and folder.exists():
                try:
                    await asyncio.to_thread(removal.remove, str(folder))
                except OSError as error:  # after the training: its result is worth more than the space
                    self._removals_failed += 1
                    _logger.warning("the folder %s could not be removed: %s", folder, error)

    def limits_for(self, task: TaskSpec) -> Limits:
        """The limits of a program of `task` if the caller gives none."""
        return default_limits(task, self.config.wall_s, self.config.memory_bytes)

    def overhead_s(self, task: TaskSpec, limits: Limits) -> float:
        """0: beside its execution a program takes a moment here, or the start of a worker."""
        return 0.0

    def take_metrics(self) -> dict[str, float]:
        """`sandbox/removals_failed`: times since the last call that what programs had left could not be removed."""
        failed = self._removals_failed + sum(slot.take_removals_failed() for slot in self._slots)
        self._removals_failed = 0
        if failed:
            _logger.warning("%d removals of what programs had left on disk failed; they are tried again", failed)
        return {"sandbox/removals_failed": float(failed)}

    async def run(
        self,
        code: str,
        task: TaskSpec,
        limits: Limits | None = None,
        *,
        source: str | None = None,
        group: Hashable = None,
        files: Mapping[str, bytes] | None = None,
    ) -> Execution:
        """Run `code` with the task's public files under `./input/` and return what happened.

        Waits for a free worker; that time is not part of the execution. If the call is cancelled, the program and all
        its processes are gone before it returns. `group` is ignored: use `SandboxPool` for fair queueing.

        Raises:
            ConfigError: `limits` or `files` are out of bounds.
            SandboxUnavailableError: the sandbox is not started, or lacks a package or folder that the task needs.
            SandboxError: the sandbox failed. Nothing is known about the program except whether it `may_have_started`.
        """
        self._check_running()
        limits = limits or self.limits_for(task)
        check_limits(limits)
        kept = check_files(files, limits)
        slot = await self._idle.get()
        await slot.in_use.acquire()
        try:
            public = os.path.realpath(task.public_dir)
            hidden = (str(task.folder), str(_PACKAGE), os.path.expanduser("~"))
            task_files = TaskFiles(tuple(task.packages), hidden, public)
            program_limits = ProgramLimits(**asdict(limits))
            request = ProgramRequest(code, code if source is None else source, public, program_limits, kept)
            started = time.monotonic()
            reply = await self._ask(slot, task_files, request)
            if isinstance(reply, ProgramFault) and not reply.lasting:
                await slot.stop()  # whatever the fault, the next program gets a new worker
        except SandboxError as error:
            await asyncio.shield(slot.stop())
            if self._is_the_programs_doing(error):
                return killed_execution(str(error), time.monotonic() - started, limits)
            raise
        except BaseException:  # a fault or a cancellation: what the worker does now is unknown
            await asyncio.shield(slot.stop())
            raise
        finally:
            slot.in_use.release()
            self._idle.put_nowait(slot)
        if isinstance(reply, ProgramFault):
            fault = self._error(reply, task)
            if reply.process_died and self._is_the_programs_doing(fault):
                return killed_execution(reply.reason, time.monotonic() - started, limits, reply.cpu_s)
            raise fault
        return to_execution(reply)

    def _is_the_programs_doing(self, error: SandboxError) -> bool:
        """Whether a process of the sandbox that died or hung is charged to the program that ran.

        Only where the layer `signals` is missing: there a program can kill and stop the processes around it, and as a fault it
        would escape its penalty. The machine itself kills the program first (`oom_score_adj`).
        """
        return bool(self.layers) and not self._guards_signals and error.may_have_started

    @property
    def _guards_signals(self) -> bool:
        """Whether programs can send no signal to the processes of the sandbox, on this machine."""
        return any(layer.name == "signals" and layer.active for layer in self.layers)

    async def _ask(self, slot: Slot, files: TaskFiles, request: ProgramRequest) -> Reply:
        """The reply of the slot's worker, or of a new worker if the old one had ended before the program began."""
        # A program that can stop the worker by a signal must not hold it for long.
        answer_s = (
            self._timing.answer_s
            if self._guards_signals
            else min(self._timing.answer_s, self._timing.unguarded_answer_s)
        )
        timeout_s = request.limits.wall_s + answer_s
        try:
            return await (await self._worker(slot)).ask(files, request, timeout_s)
        # Once only: a machine on which workers keep ending is a fault that the pool must see.
        except NotTakenError:
            return await (await self._worker(slot)).ask(files, request, timeout_s)

    async def _worker(self, slot: Slot) -> WorkerProcess:
        """The worker of `slot`; a new one if the slot has none or a dead one."""
        if slot.worker is not None and not slot.worker.alive:
            _logger.warning("worker %d ended by itself and is replaced", slot.number)
            await slot.stop()
        if self._closing or self._folder is None:
            raise _not_started("the sandbox was closed while the program waited for a worker")
        if slot.worker is None:
            slot.starts += 1
            folder = self._folder / f"worker-{slot.number}-{slot.starts}"
            settings = WorkerSettings(
                folder=str(folder),
                host_pid=os.getpid(),
                preload=tuple(self.config.preload),
                without=tuple(self._without),
                in_memory=self.scratch_dir is None,
                number=slot.number_on_machine,
            )
            try:
                worker = slot.worker = await WorkerProcess.start(self.python, settings, self._timing)
            except SandboxError as error:
                error.may_have_started = False
                raise
            layers = from_worker(worker.layers)
            if self._closing:
                await slot.stop()
                raise _not_started("the sandbox was closed while a worker started")
            # A worker with fewer layers could show the answers; one with more would make results incomparable.
            if self.layers and layers != self.layers:
                await slot.stop()
                raise _not_started(
                    f"a new worker has found other layers of isolation than the first:\n{describe(layers)}"
                )
        return slot.worker

    def _check_running(self) -> None:
        if self._loop is None:
            raise SandboxUnavailableError("This `LocalSandbox` is not running; use `async with sandbox:` around it.")
        if self._loop is not asyncio.get_running_loop():
            raise SandboxUnavailableError("This `LocalSandbox` was started in another event loop; use that one.")

    def _check_layers(self, layers: Layers) -> None:
        self.layers = from_worker(layers)
        missing = [layer for layer in self.layers if not layer.active]
        unsafe = [
            layer.name for layer in missing if layer.required
        ]  # each is required only if the other one is missing
        if unsafe and self.config.isolation == "required":
            raise SandboxUnavailableError(
                f"Programs could read the answers on this machine: the layers {' and '.join(unsafe)} are missing (the "
                "first needs Linux 5.12 or later with user namespaces allowed, the second Linux 5.13 or later with "
                "Landlock enabled; `trl-mle doctor` tells more). To run all the same, for programs that you trust, set "
                '`sandbox_isolation: none` in the recipe, or `SandboxConfig(isolation="none")`.'
            )
        for layer in missing:
            _logger.warning("the sandbox lacks the layer %s: %s", layer.name, layer.without)

    def _error(self, fault: ProgramFault, task: TaskSpec) -> SandboxError:
        if fault.lasting:
            return SandboxUnavailableError(
                f"Task {task.id!r} cannot run with `python`={self.python!r}: {fault.reason}."
            )
        return SandboxError(fault.reason, may_have_started=fault.may_have_started)


def _not_started(message: str) -> SandboxError:
    return SandboxError(message, may_have_started=False)


async def _all_or_error(actions: Any) -> None:
    """Await all actions, even after one has failed, then raise the first error."""
    for result in await asyncio.gather(*actions, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result
