"""Settings of the sandbox on a Ray cluster."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from trl_mle.config.base import (
    BackendConfig,
    Key,
    Keys,
    RunContext,
    check_bytes,
    check_choice,
    check_least,
    check_seconds,
)
from trl_mle.errors import ConfigError


@dataclass(frozen=True)
class RayConfig(BackendConfig):
    """Parameters that control how programs run on the nodes of a Ray cluster.

    Args:
        address (`str`, *optional*):
            `"host:port"` or `"auto"` for a cluster that this machine belongs to, `"ray://host:port"` for any other cluster,
            `"local"` for a new cluster of this machine alone. Defaults to the variable `RAY_ADDRESS`, then to a cluster that
            this machine belongs to, then to `"local"`.
        workers (`int`, *optional*):
            Programs that run at the same time, on all nodes together. Defaults to what fits by CPU and memory.
        workers_per_node (`int`, *optional*):
            Programs that run at the same time on one node, at most.
        cpus_per_worker (`float`, *optional*, defaults to `1.0`):
            CPUs reserved for one program.
        memory_per_worker (`int`, *optional*, defaults to 2 GiB):
            Memory reserved for one program, in bytes. The limit of the program itself is the task's.
        share (`float`, *optional*, defaults to `1.0`):
            Part of each node's CPUs and memory that this sandbox may take, if several sandboxes share a cluster.
        isolation (`str`, *optional*, defaults to `"required"`):
            As `SandboxConfig.isolation`, per node: a node that cannot hide its files gets no programs.
        wall_s (`float`, *optional*):
            Wall-clock limit of a program in seconds. Defaults to the task's own.
        preload (`tuple[str, ...]`):
            Modules that a worker imports once, so that programs start without delay.
        scratch_dir (`str`, *optional*):
            Folder on every node for the tasks' files and for files that programs write. Defaults to the system's temporary
            folder for the tasks' files, and to memory for files that programs write.
        runtime_env (`dict`, *optional*):
            Ray's runtime environment for the processes on the nodes, if this package is not installed there.
        connect_s (`float`, *optional*, defaults to `30.0`):
            Seconds to wait for the address to answer.
        start_s (`float`, *optional*, defaults to `300.0`):
            Seconds that nodes may take to be ready. The sandbox starts with the nodes that are ready; others join later.
        node_wait_s (`float`, *optional*, defaults to `300.0`):
            Seconds that a program waits for a node if all nodes are lost.
        restarts (`int`, *optional*, defaults to `5`):
            Restarts in a row of a node's process before the node is left out.
        memory_bytes (`int`, *optional*):
            Limit of resident memory of a program in bytes. Defaults to the task's own.
    """

    KEYS: ClassVar[Keys] = {
        "address": "ray_address",
        "workers": "sandbox_workers",
        "cpus_per_worker": Key("ray_cpus_per_worker", if_unset="the most threads of the tasks"),
        "memory_per_worker": Key("ray_memory_gib_per_worker", if_unset="the tasks' largest limit", scale=1024**3),
        "share": Key("ray_share", if_unset="one divided by the training's processes"),
        "isolation": "sandbox_isolation",
        "scratch_dir": "sandbox_scratch_dir",
    }

    address: str | None = None
    workers: int | None = None
    workers_per_node: int | None = None
    cpus_per_worker: float = 1.0
    memory_per_worker: int = 2 * 1024**3
    share: float = 1.0
    isolation: Literal["required", "none"] = "required"
    wall_s: float | None = None
    preload: tuple[str, ...] = ("numpy", "pandas", "sklearn")
    scratch_dir: str | None = None
    runtime_env: dict[str, Any] | None = None
    connect_s: float = 30.0
    start_s: float = 300.0
    node_wait_s: float = 300.0
    restarts: int = 5
    memory_bytes: int | None = None

    def __post_init__(self):
        if self.address is not None and not re.fullmatch(r"auto|local|(ray://)?[^\s:/]+:\d{1,5}", self.address):
            raise ConfigError(
                f"`address` of the Ray cluster is {self.address!r}; write 'host:6379', 'ray://host:10001' or 'auto'."
            )
        check_least(self, workers=1, workers_per_node=1, memory_per_worker=0, restarts=0)
        if not 0 < self.cpus_per_worker < math.inf:
            raise ConfigError(f"`cpus_per_worker` is {self.cpus_per_worker}; it must be a positive number.")
        if not 0 < self.share <= 1:
            raise ConfigError(f"`share` is {self.share}; it must be above 0 and at most 1.")
        check_choice("isolation", self.isolation, ("required", "none"))
        check_bytes(self, "memory_bytes")
        check_seconds(self, "wall_s", "connect_s", "start_s", "node_wait_s")

    @classmethod
    def for_run(cls, settings: Mapping[str, Any], run: RunContext) -> Self:
        reserved: dict[str, Any] = {}
        if run.tasks:
            reserved["cpus_per_worker"] = float(max(task.threads for task in run.tasks))
            reserved["memory_per_worker"] = max(task.memory_bytes for task in run.tasks)
        # Every training process has workers of its own; a fixed number of them needs no share.
        if settings.get("workers") is None:
            reserved["share"] = 1 / run.processes
        return cls(**{**reserved, **settings})
