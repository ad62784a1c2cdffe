"""The flat settings of `recipes/grpo_mle.py`, beside those of TRL's own dataclasses."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from trl_mle.config import RewardConfig, SandboxConfig
from trl_mle.errors import ConfigError


@dataclass
class MLEArguments:
    """Parameters of a run on machine-learning-engineering tasks.

    > Parameters that control what is asked

    Args:
        tasks (`list[str]`):
            Task names: `builtin:digits`, a task folder, or several for a mixture in equal shares.

    > Parameters that control how programs run

    Args:
        sandbox (`str`, *optional*, defaults to `"local"`):
            Where programs run. This version has `"local"`.
        sandbox_workers (`int`, *optional*):
            Programs that run at the same time, per process. Defaults to this machine's cores over its processes.
        sandbox_isolation (`str`, *optional*, defaults to `"required"`):
            `"required"` refuses to run where programs could read the answers; `"none"` runs them all the same.
        program_time_limit_s (`float`, *optional*):
            Wall-clock limit of a program in seconds. Defaults to the task's own.

    > Parameters that control the reward

    Args:
        failure_reward (`float`, *optional*, defaults to `-10.0`):
            Reward of a completion without a valid submission and without a milestone.
        milestone_reward (`float`, *optional*, defaults to `0.1`):
            Added for each of the seven milestones that a failed program has reached.
        reward_split (`str`, *optional*, defaults to `"public"`):
            Part of the answers that is rewarded: `"public"`, or `"all"` as in the paper.
        infrastructure_retries (`int`, *optional*, defaults to `2`):
            How often a program is given to the sandbox again after an infrastructure fault.

    > Parameters that control checks and reports

    Args:
        validate_tasks (`bool`, *optional*, defaults to `True`):
            Before training, run each task's baseline and reference solution in the sandbox, once a machine.
    """

    tasks: list[str] = field(
        default_factory=list, metadata={"help": "Task names: builtin:digits, a folder, or several for a mixture."}
    )
    sandbox: str = field(default="local", metadata={"help": "Where programs run: 'local'."})
    sandbox_workers: int | None = field(
        default=None,
        metadata={"help": "Programs at the same time, per process. Default: the machine's cores over its processes."},
    )
    sandbox_isolation: str = field(
        default="required",
        metadata={
            "help": "'required' refuses to run where programs could read the answers; 'none' runs all the same."
        },
    )
    program_time_limit_s: float | None = field(
        default=None, metadata={"help": "Wall-clock limit of a program in seconds. Default: the task's own."}
    )
    failure_reward: float = field(default=-10.0, metadata={"help": "Reward of a failed program without a milestone."})
    milestone_reward: float = field(default=0.1, metadata={"help": "Added for each milestone of a failed program."})
    reward_split: str = field(
        default="public", metadata={"help": "Part of the answers that is rewarded: 'public' or 'all' (the paper)."}
    )
    infrastructure_retries: int = field(
        default=2, metadata={"help": "How often a program is run again after an infrastructure fault."}
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
        if self.sandbox != "local":
            raise ConfigError(f"`sandbox` is {self.sandbox!r}; this version has 'local'.")
        self.sandbox_config()
        self.reward_config()

    def sandbox_config(self) -> SandboxConfig:
        """The sandbox's part of the settings."""
        workers = self.sandbox_workers
        if workers is None and (processes := int(os.environ.get("LOCAL_WORLD_SIZE", "1"))) > 1:
            workers = max(1, usable_cores() // processes)  # every process of this machine has workers of its own
        return SandboxConfig(
            workers=workers,
            isolation=self.sandbox_isolation,  # type: ignore[arg-type]  # checked by SandboxConfig
            wall_s=self.program_time_limit_s,
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
