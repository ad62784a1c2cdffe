"""What the configurations share: names of recipe keys, defaults that depend on the run, and checks of values."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from trl_mle.errors import ConfigError
from trl_mle.types import LARGEST, LONGEST_S, TaskSpec

URL = r"https?://[^/@\s]+(?:/[^@\s]*)?"
"""An address without user or password."""


@dataclass(frozen=True)
class Key:
    """Name of a field in YAML files and on the command line, where it differs from the field in more than its name.

    Args:
        name (`str`):
            Key of the YAML file, and flag.
        if_unset (`str`, *optional*):
            What holds if the key is not given. The key's own default is then `None`, and `for_run` computes the value.
        scale (`int`, *optional*):
            The field is the key's value times this, for keys in a larger unit.
    """

    name: str
    if_unset: str | None = None
    scale: int | None = None


Keys = Mapping[str, str | Key]
"""Field -> key, of those fields that recipes can set."""


@dataclass(frozen=True)
class RunContext:
    """What a backend's defaults depend on: tasks and processes of the training.

    Args:
        tasks (sequence of [`TaskSpec`]):
            Tasks of the run.
        processes (`int`, *optional*, defaults to `1`):
            Processes that have a sandbox of their own, on all machines.
        local_processes (`int`, *optional*, defaults to `1`):
            Those on this machine.
    """

    tasks: Sequence[TaskSpec] = ()
    processes: int = 1
    local_processes: int = 1


class BackendConfig:
    """Base of the backends' configurations."""

    KEYS: ClassVar[Keys] = {}
    CONCURRENCY: ClassVar[str] = "workers"
    """Field that limits how many programs run at the same time."""

    @classmethod
    def for_run(cls, settings: Mapping[str, Any], run: RunContext) -> Self:
        """The configuration of a training run; `settings` are the fields that the user set."""
        return cls(**settings)

    def one_program_at_a_time(self) -> Self:
        """These settings, with one program at the same time."""
        return replace(self, **{self.CONCURRENCY: 1})  # type: ignore[type-var]  # every subclass is a dataclass


def check_choice(name: str, value: Any, choices: Collection[str], remark: str = "") -> None:
    """Raise `ConfigError` if `value` is none of `choices`."""
    if value not in choices:
        *others, last = map(repr, choices)
        raise ConfigError(f"`{name}` is {value!r}; choose {', '.join(others)} or {last}.{remark}")


def check_least(config: Any, **least: int) -> None:
    """Raise `ConfigError` if a field that is set is less than the number given for it."""
    for name, lowest in least.items():
        value = getattr(config, name)
        if value is not None and value < lowest:
            raise ConfigError(f"`{name}` is {value}; it must be {lowest} or more.")


def check_seconds(config: Any, *names: str) -> None:
    """Raise `ConfigError` if a field that is set is no positive number of seconds."""
    for name in names:
        value = getattr(config, name)
        # Only the limit of a program is enforced by the kernel.
        most, words = (LONGEST_S, ", at most a year") if name == "wall_s" else (sys.float_info.max, "")
        if value is not None and not 0 < value <= most:
            raise ConfigError(f"`{name}` is {value}; it must be a positive number of seconds{words}.")


def check_bytes(config: Any, *names: str) -> None:
    """Raise `ConfigError` if a field that is set is no positive number of bytes."""
    for name in names:
        value = getattr(config, name)
        if value is not None and not 1 <= value <= LARGEST:
            raise ConfigError(f"`{name}` is {value}; it must be a positive number of bytes, at most 2**50.")


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
