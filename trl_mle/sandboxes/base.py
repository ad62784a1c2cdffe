"""What every sandbox offers."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import Protocol

from trl_mle.errors import ConfigError
from trl_mle.types import Execution, Limits, TaskSpec


class Sandbox(Protocol):
    """Runs programs. Use as `async with sandbox: await sandbox.run(...)`; programs of one batch run concurrently."""

    async def __aenter__(self) -> Sandbox: ...

    async def __aexit__(self, *exc_info: object) -> None: ...

    async def run(
        self, code: str, task: TaskSpec, limits: Limits | None = None, *, source: str | None = None
    ) -> Execution:
        """Run `code` with the task's public files under `./input/` and return what happened.

        Args:
            code (`str`):
                A Python program. It writes `submission.csv` into its working directory.
            task (`TaskSpec`):
                Whose public files the program sees.
            limits (`Limits`, *optional*):
                Defaults to `limits_for(task)`.
            source (`str`, *optional*):
                The program before statements were added to it, where `code` is an instrumented one: what it finds as
                its own file, and what the lines of tracebacks refer to. Defaults to `code`.

        Raises:
            SandboxError: the sandbox failed; nothing is known about the program.
        """
        ...

    def limits_for(self, task: TaskSpec) -> Limits:
        """The limits of a program of `task` if `run` gets none: the sandbox's own settings, and else the task's."""
        ...


def default_limits(task: TaskSpec, wall_s: float | None = None, memory_bytes: int | None = None) -> Limits:
    """The limits of a program of `task`.

    Args:
        task (`TaskSpec`):
            Whose limits hold for everything that is not given.
        wall_s (`float`, *optional*):
            Wall-clock limit in seconds, in place of the task's.
        memory_bytes (`int`, *optional*):
            Limit of resident memory in bytes, in place of the task's.
    """
    limits = Limits.for_task(task, wall_s)
    return limits if memory_bytes is None else replace(limits, memory_bytes=memory_bytes)


_LONGEST_S = 366 * 24 * 3600.0
_LARGEST = 2**50


def check_limits(limits: Limits) -> None:
    """Raise `ConfigError` for limits that no kernel can keep, or that would be none."""
    counts = asdict(limits)
    wall_s = counts.pop("wall_s")
    if not (isinstance(wall_s, (int, float)) and math.isfinite(wall_s) and 0 < wall_s <= _LONGEST_S):
        raise ConfigError(f"`limits.wall_s` is {wall_s!r}; it must be a positive number of seconds, at most a year.")
    for name, value in counts.items():
        if not isinstance(value, int) or not 1 <= value <= _LARGEST:
            raise ConfigError(f"`limits.{name}` is {value!r}; it must be a whole number of at least 1, at most 2**50.")
