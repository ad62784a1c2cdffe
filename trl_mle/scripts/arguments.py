"""The flat settings of `recipes/grpo_mle.py`, beside those of TRL's own dataclasses."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from trl_mle.config import E2BConfig, InstrumentationConfig, PoolConfig, RayConfig, RewardConfig, SandboxConfig
from trl_mle.errors import ConfigError
from trl_mle.sandboxes.backends import check_backend
from trl_mle.types import TaskSpec


@dataclass
class MLEArguments:
    """Parameters of a run on machine-learning-engineering tasks.

    > Parameters that control what is asked

    Args:
        tasks (`list[str]`):
            Task names: `builtin:digits`, a task folder, or several for a mixture in equal shares.

    > Parameters that control how programs run

    Args:
        sandbox_backend (`str`, *optional*, defaults to `"local"`):
            Where programs run (`docs/sandboxes.md`): `"local"` on this machine, `"ray"` on the nodes of a cluster, `"e2b"` in
            the virtual machines of E2B.
        sandbox_workers (`int`, *optional*):
            Programs that run at the same time, per process (`"local"` and `"ray"`). Defaults to this machine's cores over its
            processes, and to what fits on the cluster.
        sandbox_scratch_dir (`str`, *optional*):
            Folder on disk for what programs write (`"local"` and `"ray"`). Defaults to memory, where the machine allows it.
        sandbox_isolation (`str`, *optional*, defaults to `"required"`):
            `"required"` refuses to run where programs could read the answers; `"none"` runs them all the same.
        sandbox_queue_s (`float`, *optional*):
            Seconds that a program may wait for its place. Defaults to as long as it takes.
        sandbox_outage_s (`float`, *optional*, defaults to `600.0`):
            Seconds that programs wait for a sandbox that is down before they are given up.
        sandbox_progress (`str`, *optional*, defaults to `"auto"`):
            The live line of programs on a terminal: `"auto"`, `"on"` or `"off"`.
        program_time_limit_s (`float`, *optional*):
            Wall-clock limit of a program in seconds. Defaults to the task's own.

    > Parameters that control the cluster (`"ray"` only)

    Args:
        ray_address (`str`, *optional*):
            `host:port`, `auto`, `ray://host:port` or `local`. Defaults to the variable `RAY_ADDRESS`, to a cluster that this
            machine belongs to, or to a new one of this machine alone.
        ray_cpus_per_worker (`float`, *optional*):
            CPUs reserved for a program. Defaults to the most threads of the tasks.
        ray_memory_gib_per_worker (`float`, *optional*):
            Memory reserved for a program in GiB. Defaults to the largest limit of the tasks.
        ray_share (`float`, *optional*):
            Part of each node that one process of the training takes. Defaults to one over their number, and to all of it
            where one process runs all programs (`async_grpo_mle.py`).

    > Parameters that control E2B (`"e2b"` only; `docs/e2b.md`). The key comes from `E2B_API_KEY`.

    Args:
        e2b_template (`str`, *optional*):
            Name or id of the template. Defaults to E2B's code interpreter.
        e2b_max_sandboxes (`int`, *optional*, defaults to `20`):
            E2B sandboxes at the same time, per process.
        e2b_reuse (`bool`, *optional*, defaults to `True`):
            Whether an E2B sandbox runs one program after the other.
        e2b_session_s (`float`, *optional*, defaults to `3600.0`):
            Seconds after which an E2B sandbox ends by itself.

    > Parameters that control what inserts the milestone prints (`docs/instrumentation.md`)

    Args:
        instrumenter (`str`, *optional*, defaults to `"ast"`):
            `"ast"` works from the syntax tree; `"llm"` asks a frozen language model and verifies its answers.
        instrumenter_endpoint (`str`, *optional*):
            Base URL of an OpenAI-compatible server. Without one, the model runs in this process.
        instrumenter_model (`str`, *optional*, defaults to `"Qwen/Qwen2.5-3B-Instruct"`):
            The model's name at the endpoint, or its hub id or path.
        instrumenter_key_variable (`str`, *optional*, defaults to `"OPENAI_API_KEY"`):
            Name of the environment variable that holds the endpoint's key.
        instrumenter_answer_format (`str`, *optional*, defaults to `"lines"`):
            `"lines"`: the model copies the lines that reach milestones. `"rewrite"`: it writes the program anew, with prints.
        instrumenter_concurrency (`int`, *optional*, defaults to `16`):
            Requests at the same time, per process.
        instrumenter_request_timeout_s (`float`, *optional*, defaults to `60.0`):
            Seconds after which one request is given up.
        instrumenter_wait_s (`float`, *optional*, defaults to `120.0`):
            Seconds that a program waits for the model before its syntax tree has to do.
        instrumenter_cache_dir (`str`, *optional*):
            Folder of the answers' cache; `"none"` keeps no answers. Defaults to the user's cache folder.

    > Parameters that control the reward

    Args:
        failure_reward (`float`, *optional*, defaults to `-10.0`):
            Reward of a completion without a valid submission and without a milestone.
        milestone_reward (`float`, *optional*, defaults to `0.1`):
            Added for each of the seven milestones that a failed program has reached.
        reward_split (`str`, *optional*, defaults to `"public"`):
            Part of the answers that is rewarded: `"public"`, or `"all"` as in the paper.
        infrastructure_retries (`int`, *optional*, defaults to `2`):
            How often a program is given to the sandbox again after an infrastructure fault before which it had not started.

    > Parameters that control checks and reports

    Args:
        validate_tasks (`bool`, *optional*, defaults to `True`):
            Before training, run each task's baseline and reference solution in the sandbox, once a machine.
    """

    tasks: list[str] = field(
        default_factory=list, metadata={"help": "Task names: builtin:digits, a folder, or several for a mixture."}
    )
    sandbox_backend: str = field(
        default="local",
        metadata={
            "help": "Where programs run: 'local' (this machine), 'ray' (a cluster) or 'e2b' (virtual machines)."
        },
    )
    sandbox_workers: int | None = field(
        default=None,
        metadata={"help": "Programs at the same time, per process. Default: the machine's cores over its processes."},
    )
    sandbox_scratch_dir: str | None = field(
        default=None, metadata={"help": "Folder on disk for what programs write; in memory by default."}
    )
    sandbox_isolation: str = field(
        default="required",
        metadata={
            "help": "'required' refuses to run where programs could read the answers; 'none' runs all the same."
        },
    )
    sandbox_queue_s: float | None = field(
        default=None, metadata={"help": "Seconds that a program may wait for its place. Default: as long as it takes."}
    )
    sandbox_outage_s: float = field(
        default=600.0, metadata={"help": "Seconds that programs wait for a sandbox that is down."}
    )
    sandbox_progress: str = field(
        default="auto", metadata={"help": "Live line of programs on a terminal: 'auto', 'on' or 'off'."}
    )
    ray_address: str | None = field(
        default=None, metadata={"help": "host:port, auto or ray://host:port. Default: RAY_ADDRESS, or this machine."}
    )
    ray_cpus_per_worker: float | None = field(
        default=None, metadata={"help": "CPUs reserved for a program. Default: the most threads of the tasks."}
    )
    ray_memory_gib_per_worker: float | None = field(
        default=None, metadata={"help": "GiB reserved for a program. Default: the largest limit of the tasks."}
    )
    ray_share: float | None = field(
        default=None, metadata={"help": "Part of each node for this process. Default: one over the processes."}
    )
    e2b_template: str | None = field(
        default=None, metadata={"help": "Template of the E2B sandboxes. Default: E2B's code interpreter."}
    )
    e2b_max_sandboxes: int = field(default=20, metadata={"help": "E2B sandboxes at the same time, per process."})
    e2b_reuse: bool = field(default=True, metadata={"help": "Whether an E2B sandbox runs one program after another."})
    e2b_session_s: float = field(
        default=3600.0, metadata={"help": "Seconds after which an E2B sandbox ends by itself."}
    )
    program_time_limit_s: float | None = field(
        default=None, metadata={"help": "Wall-clock limit of a program in seconds. Default: the task's own."}
    )
    instrumenter: str = field(
        default="ast", metadata={"help": "'ast' (syntax tree) or 'llm' (a frozen language model, verified)."}
    )
    instrumenter_endpoint: str | None = field(
        default=None,
        metadata={"help": "Base URL of an OpenAI-compatible server. Default: the model runs in this process."},
    )
    instrumenter_model: str = field(
        default="Qwen/Qwen2.5-3B-Instruct", metadata={"help": "Name at the endpoint, hub id or path."}
    )
    instrumenter_key_variable: str = field(
        default="OPENAI_API_KEY", metadata={"help": "Environment variable that holds the endpoint's key."}
    )
    instrumenter_answer_format: str = field(
        default="lines", metadata={"help": "'lines' (copied lines) or 'rewrite' (the program with prints)."}
    )
    instrumenter_concurrency: int = field(
        default=16, metadata={"help": "Requests to the instrumentation model at the same time, per process."}
    )
    instrumenter_request_timeout_s: float = field(
        default=60.0, metadata={"help": "Seconds after which a request to the instrumentation model is given up."}
    )
    instrumenter_wait_s: float = field(
        default=120.0,
        metadata={"help": "Seconds that a program waits for the model before its syntax tree has to do."},
    )
    instrumenter_cache_dir: str | None = field(
        default=None, metadata={"help": "Folder of the answers' cache, or 'none'. Default: the user's cache folder."}
    )
    failure_reward: float = field(default=-10.0, metadata={"help": "Reward of a failed program without a milestone."})
    milestone_reward: float = field(default=0.1, metadata={"help": "Added for each milestone of a failed program."})
    reward_split: str = field(
        default="public", metadata={"help": "Part of the answers that is rewarded: 'public' or 'all' (the paper)."}
    )
    infrastructure_retries: int = field(
        default=2, metadata={"help": "How often a program that had not started is given to the sandbox again."}
    )
    validate_tasks: bool = field(
        default=True, metadata={"help": "Run each task's baseline and reference solution before training."}
    )

    def __post_init__(self):
        if not self.tasks:
            raise ConfigError(
                "`tasks` is empty. Name at least one, for example `tasks: [builtin:digits]` or `--tasks ...`."
            )
        if len(set(self.tasks)) != len(self.tasks):
            raise ConfigError(f"`tasks` names a task twice: {self.tasks}.")
        check_backend(self.sandbox_backend)
        self.sandbox_config()
        self.ray_config()
        if self.sandbox_backend == "e2b":  # its session must hold the longest program
            self.e2b_config()
        self.pool_config()
        self.instrumentation_config()
        self.reward_config()

    def sandbox_config(self, alone: bool = False) -> SandboxConfig:
        """The sandbox's part of the settings; `alone`: one process of the training runs all programs."""
        workers = self.sandbox_workers
        if workers is None and not alone and (processes := int(os.environ.get("LOCAL_WORLD_SIZE", "1"))) > 1:
            workers = max(1, usable_cores() // processes)  # every process of this machine has workers of its own
        return SandboxConfig(
            workers=workers,
            scratch_dir=self.sandbox_scratch_dir,
            isolation=self.sandbox_isolation,  # type: ignore[arg-type]  # checked by SandboxConfig
            wall_s=self.program_time_limit_s,
        )

    def ray_config(self, tasks: Sequence[TaskSpec] = (), alone: bool = False) -> RayConfig:
        """The cluster's part of the settings; what is reserved for a program depends on the `tasks`."""
        cpus, gib, share = self.ray_cpus_per_worker, self.ray_memory_gib_per_worker, self.ray_share
        if cpus is None:
            cpus = float(max((task.threads for task in tasks), default=1))
        memory = max((task.memory_bytes for task in tasks), default=RayConfig.memory_per_worker)
        if share is None and self.sandbox_workers is None and not alone:
            share = 1 / int(os.environ.get("WORLD_SIZE", "1"))  # every process of the training has workers of its own
        return RayConfig(
            address=self.ray_address,
            workers=self.sandbox_workers,
            cpus_per_worker=cpus,
            memory_per_worker=memory if gib is None else int(gib * 1024**3),
            share=1.0 if share is None else share,
            isolation=self.sandbox_isolation,  # type: ignore[arg-type]  # checked by RayConfig
            wall_s=self.program_time_limit_s,
            scratch_dir=self.sandbox_scratch_dir,
        )

    def e2b_config(self) -> Any:
        """E2B's part of the settings."""
        return E2BConfig(
            template=self.e2b_template,
            max_sandboxes=self.e2b_max_sandboxes,
            reuse=self.e2b_reuse,
            session_s=self.e2b_session_s,
            isolation=self.sandbox_isolation,  # type: ignore[arg-type]  # checked by E2BConfig
            wall_s=self.program_time_limit_s,
        )

    def backend_config(self, tasks: Sequence[TaskSpec], alone: bool = False) -> Any:
        """The settings of the backend that is asked for; `alone`: one process of the training runs all programs."""
        if self.sandbox_backend == "ray":
            return self.ray_config(tasks, alone)
        return self.e2b_config() if self.sandbox_backend == "e2b" else self.sandbox_config(alone)

    def pool_config(self) -> PoolConfig:
        """The part of the settings that holds on every backend."""
        return PoolConfig(
            retries=self.infrastructure_retries,
            queue_s=self.sandbox_queue_s,
            outage_s=self.sandbox_outage_s,
            progress=self.sandbox_progress,  # type: ignore[arg-type]  # checked by PoolConfig
        )

    def instrumentation_config(self) -> InstrumentationConfig:
        """The instrumenter's part of the settings."""
        return InstrumentationConfig(
            instrumenter=self.instrumenter,  # type: ignore[arg-type]  # checked by InstrumentationConfig
            endpoint=self.instrumenter_endpoint,
            model=self.instrumenter_model,
            api_key_variable=self.instrumenter_key_variable,
            answer_format=self.instrumenter_answer_format,  # type: ignore[arg-type]  # checked by InstrumentationConfig
            concurrency=self.instrumenter_concurrency,
            request_timeout_s=self.instrumenter_request_timeout_s,
            wait_s=self.instrumenter_wait_s,
            cache_dir=self.instrumenter_cache_dir,
        )

    def reward_config(self) -> RewardConfig:
        """The reward's part of the settings."""
        return RewardConfig(
            failure_reward=self.failure_reward,
            milestone_reward=self.milestone_reward,
            reward_split=self.reward_split,  # type: ignore[arg-type]  # checked by RewardConfig
            infrastructure_retries=self.infrastructure_retries,
        )


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
