"""The `Sandbox` protocol: what every backend, the pool and every test double offers."""

from __future__ import annotations

import inspect
import math
from collections.abc import Hashable, Mapping
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from trl_mle.errors import ConfigError
from trl_mle.sandboxes.local.runner.limits import kept_files
from trl_mle.text_tables import READ_ERRORS, open_bytes
from trl_mle.types import LARGEST, LONGEST_S, NUMBER_BYTES, Execution, Limits, TaskSpec


class UnknownWorkers(int):
    """Programs that run at the same time in a sandbox that does not say how many: a guess."""


UNKNOWN_WORKERS = UnknownWorkers(64)


@runtime_checkable
class Sandbox(Protocol):
    """Runs programs. Use it as `async with sandbox: await sandbox.run(...)`; the programs of a batch run concurrently.

    A class that names `Sandbox` as its base inherits what has a default: `workers`, `limits_for`, `overhead_s`, `take_metrics`
    and `describe`.
    """

    if TYPE_CHECKING:

        @property
        def workers(self) -> int:
            """Programs that can run at the same time now. The number may change while the sandbox is open."""
            ...
    else:
        workers = UNKNOWN_WORKERS  # an attribute, so that a class may set it in its constructor

    async def __aenter__(self) -> Sandbox: ...

    async def __aexit__(self, *exc_info: object) -> None: ...

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

        Args:
            code (`str`):
                A Python program. It writes `submission.csv` into its working directory.
            task (`TaskSpec`):
                The task whose public files the program sees.
            limits (`Limits`, *optional*):
                Defaults to `self.limits_for(task)`.
            source (`str`, *optional*):
                The program before instrumentation, if `code` is an instrumented program. The program finds `source` as its
                own file, and the line numbers of tracebacks refer to it. Defaults to `code`.
            group (hashable, *optional*):
                A key for fair queueing, for example one per prompt. `SandboxPool` serves groups round-robin; a backend
                without a queue ignores the key.
            files (`Mapping[str, bytes]`, *optional*):
                Relative name -> content of the files that lie in the working directory when the program starts, for example
                `Execution.files` of an earlier program. With `limits.keep_bytes` the execution returns what lies there at the end.

        Raises:
            ConfigError: `files` has a name or a size that no program could have left.
            SandboxError: the sandbox failed. Nothing is known about the program except whether it `may_have_started`.
        """
        ...

    def limits_for(self, task: TaskSpec) -> Limits:
        """The limits of a program of `task` if the caller gives none."""
        return default_limits(task)

    def overhead_s(self, task: TaskSpec, limits: Limits) -> float:
        """Longest time in seconds that a program of `task` may spend here beside its execution: waits for a machine, transfers.

        The sandbox itself ends what takes longer. `SandboxPool` gives a program up only after that time.
        """
        return 0.0

    def take_metrics(self) -> dict[str, float]:
        """Metric -> value, counted since the last call. A sandbox without measurements returns an empty `dict`."""
        return {}

    def describe(self) -> str:
        """The state of the sandbox in text, for logs and `trl-mle doctor`."""
        return type(self).__name__


_OPTIONS = ("source", "group", "files")
"""Keywords of `Sandbox.run` that a sandbox may lack."""


def _options_of(sandbox: Any) -> tuple[str, ...]:
    parameters = inspect.signature(sandbox.run).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    return tuple(name for name in _OPTIONS if takes_any or name in parameters)


class _Adapter(Sandbox):
    """Implements what the wrapped sandbox lacks of [`Sandbox`]."""

    def __init__(self, wrapped: Any):
        self.wrapped = wrapped
        self._options = _options_of(wrapped)

    @property
    def workers(self) -> int:
        return getattr(self.wrapped, "workers", None) or UNKNOWN_WORKERS

    async def __aenter__(self) -> Sandbox:
        await self.wrapped.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.wrapped.__aexit__(*exc_info)

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
        options = {"source": source, "group": group, "files": files}
        if files and "files" not in self._options:
            raise ConfigError(
                f"{type(self.wrapped).__name__}.run takes no `files`, so programs cannot find what earlier ones have left there. "
                "Use a sandbox of `trl_mle`, or give no files."
            )
        result: Execution = await self.wrapped.run(
            code, task, limits, **{name: options[name] for name in self._options}
        )
        return result

    def limits_for(self, task: TaskSpec) -> Limits:
        return self.wrapped.limits_for(task) if hasattr(self.wrapped, "limits_for") else default_limits(task)

    def overhead_s(self, task: TaskSpec, limits: Limits) -> float:
        return self.wrapped.overhead_s(task, limits) if hasattr(self.wrapped, "overhead_s") else 0.0

    def take_metrics(self) -> dict[str, float]:
        return self.wrapped.take_metrics() if hasattr(self.wrapped, "take_metrics") else {}

    def describe(self) -> str:
        return self.wrapped.describe() if hasattr(self.wrapped, "describe") else type(self.wrapped).__name__


def as_sandbox(sandbox: Any) -> Sandbox:
    """`sandbox` itself if it implements [`Sandbox`], else an adapter. An object needs a context and `run` alone, and `run` may
    lack the arguments `source`, `group` and `files`.

    Raises:
        ConfigError: `sandbox` cannot run programs.
    """
    if isinstance(sandbox, Sandbox) and _options_of(sandbox) == _OPTIONS:
        return sandbox
    missing = [name for name in ("__aenter__", "__aexit__", "run") if not hasattr(sandbox, name)]
    if missing:
        raise ConfigError(
            f"`sandbox` is {sandbox!r}, which has no {', '.join(f'`{name}`' for name in missing)}. Give a sandbox such as "
            "`LocalSandbox()`."
        )
    return _Adapter(sandbox)


def default_limits(task: TaskSpec, wall_s: float | None = None, memory_bytes: int | None = None) -> Limits:
    """The limits of a program of `task`, with the settings of a backend on top.

    Args:
        task (`TaskSpec`):
            The task, which has limits of its own.
        wall_s (`float`, *optional*):
            Wall-clock limit in seconds. Defaults to the task's own.
        memory_bytes (`int`, *optional*):
            Limit of resident memory in bytes. Defaults to the task's own.
    """
    limits = Limits.for_task(task, wall_s)
    submission_bytes = max(limits.submission_bytes, submission_size(task.sample_path))
    return replace(
        limits,
        memory_bytes=limits.memory_bytes if memory_bytes is None else memory_bytes,
        submission_bytes=submission_bytes,
        file_bytes=max(limits.file_bytes, submission_bytes),
        work_bytes=max(limits.work_bytes, 4 * submission_bytes),
    )


def submission_size(sample: Path) -> int:
    """Most bytes of an honest submission of the form of `sample`: each cell holds a number in full; 0 if there is no sample."""
    try:
        status = sample.stat()
        return _submission_size(sample, status.st_size, status.st_mtime_ns)
    except (*READ_ERRORS, ValueError):  # a task without files, or one that the loader will name
        return 0


@lru_cache(maxsize=256)
def _submission_size(sample: Path, file_size: int, mtime_ns: int) -> int:
    with open_bytes(sample) as file:
        size = lines = commas = 0
        for block in iter(lambda: file.read(1 << 20), b""):
            size += len(block)
            lines += block.count(b"\n")
            commas += block.count(b",")  # one within a text only makes the result larger
    # The one prediction of a row may be a label that is longer than that of the sample.
    per_cell = _LABEL_BYTES if commas <= lines + 1 else NUMBER_BYTES
    return size + (lines + commas + 2) * per_cell


_LABEL_BYTES = 128
"""Bytes of a long label."""


def check_limits(limits: Limits) -> None:
    """Raise `ConfigError` for limits that no kernel can enforce, or that would not limit anything."""
    counts = asdict(limits)
    wall_s = counts.pop("wall_s")
    if not (isinstance(wall_s, (int, float)) and math.isfinite(wall_s) and 0 < wall_s <= LONGEST_S):
        raise ConfigError(f"`limits.wall_s` is {wall_s!r}; it must be a positive number of seconds, at most a year.")
    keep_bytes = counts.pop("keep_bytes")
    early_exit = counts.pop("early_exit")
    if not isinstance(early_exit, (int, float)) or not (early_exit == 0 or 1 <= early_exit < math.inf):
        raise ConfigError(f"`limits.early_exit` is {early_exit!r}; it must be 0 (never) or a number of at least 1.")
    for name, value in counts.items():
        if not isinstance(value, int) or not 1 <= value <= LARGEST:
            raise ConfigError(f"`limits.{name}` is {value!r}; it must be a whole number of at least 1, at most 2**50.")
    most_kept = kept_files.most_bytes(limits.work_bytes)
    if not isinstance(keep_bytes, int) or not 0 <= keep_bytes <= most_kept:
        raise ConfigError(
            f"`limits.keep_bytes` is {keep_bytes!r}; it must be a whole number from 0 (nothing is kept) to half of "
            f"`limits.work_bytes`, which is {most_kept}."
        )
