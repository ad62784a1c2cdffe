"""Settings of the sandbox on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from trl_mle.config.base import (
    BackendConfig,
    Keys,
    RunContext,
    check_bytes,
    check_choice,
    check_least,
    check_seconds,
    usable_cores,
)


@dataclass(frozen=True)
class SandboxConfig(BackendConfig):
    """Parameters that control how programs run on this machine.

    Args:
        workers (`int`, *optional*):
            Programs that run at the same time, per process. Defaults to the cores that this process may use, divided by the
            training's processes on this machine, and in recipes by the most threads of the tasks.
        isolation (`str`, *optional*, defaults to `"required"`):
            `"required"` refuses to run if programs could read the answers or forge reports. `"none"` runs them with a warning;
            choose it only if you trust the programs.
        wall_s (`float`, *optional*):
            Wall-clock limit of a program in seconds. Defaults to the task's own.
        preload (`tuple[str, ...]`):
            Modules that a worker imports once, so that programs start without delay.
        scratch_dir (`str`, *optional*):
            Folder on disk for files that programs write. Defaults to memory if the machine allows it, otherwise to the system's
            temporary folder.
        memory_bytes (`int`, *optional*):
            Limit of resident memory of a program in bytes. Defaults to the task's own.
    """

    KEYS: ClassVar[Keys] = {
        "workers": "sandbox_workers",
        "scratch_dir": "sandbox_scratch_dir",
        "isolation": "sandbox_isolation",
    }

    workers: int | None = None
    isolation: Literal["required", "none"] = "required"
    wall_s: float | None = None
    preload: tuple[str, ...] = ("numpy", "pandas", "sklearn")
    scratch_dir: str | None = None
    memory_bytes: int | None = None

    def __post_init__(self):
        check_least(self, workers=1)
        check_choice("isolation", self.isolation, ("required", "none"))
        check_bytes(self, "memory_bytes")
        check_seconds(self, "wall_s")

    @classmethod
    def for_run(cls, settings: Mapping[str, Any], run: RunContext) -> Self:
        settings = dict(settings)
        if settings.get("workers") is None:
            # More would share cores, and make durations long and uneven.
            threads = max((task.threads for task in run.tasks), default=1)
            settings["workers"] = max(1, usable_cores() // (run.local_processes * threads))
        return cls(**settings)
