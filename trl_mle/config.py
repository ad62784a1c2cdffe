"""Flat settings of the stages. Each field has its unit and its default; `__post_init__` names what cannot work."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from trl_mle.errors import ConfigError
from trl_mle.types import MILESTONES, Split


@dataclass(frozen=True)
class RewardConfig:
    """Parameters that control how an outcome becomes a reward. Defaults are the paper's.

    Args:
        failure_reward (`float`, *optional*, defaults to `-10.0`):
            Reward of a completion without a valid submission and without a milestone.
        milestone_reward (`float`, *optional*, defaults to `0.1`):
            Added for each of the seven milestones that a failed program has reached.
        reward_split (`str`, *optional*, defaults to `"public"`):
            Part of the answers whose score is the reward. `"all"` is the paper's setting; with it, the private score
            is no longer an honest one.
        infrastructure_retries (`int`, *optional*, defaults to `2`):
            How often a program is given to the sandbox again after an infrastructure fault before its row is `None`.
    """

    failure_reward: float = -10.0
    milestone_reward: float = 0.1
    reward_split: Split = "public"
    infrastructure_retries: int = 2

    def __post_init__(self):
        for name in ("failure_reward", "milestone_reward"):
            if not math.isfinite(getattr(self, name)):
                raise ConfigError(f"`{name}` is {getattr(self, name)}; it must be a finite number.")
        if self.milestone_reward < 0:
            raise ConfigError(f"`milestone_reward` is {self.milestone_reward}; it must not be negative.")
        best_failure = self.failure_reward + self.milestone_reward * len(MILESTONES)
        if best_failure >= -1.0:
            raise ConfigError(
                f"`failure_reward`={self.failure_reward} and `milestone_reward`={self.milestone_reward} make a failed "
                f"program with every milestone worth {best_failure:g}, but a valid submission can be worth -1. Lower "
                f"`failure_reward` below {-1.0 - self.milestone_reward * len(MILESTONES):g}."
            )
        if self.reward_split not in ("public", "all"):
            raise ConfigError(
                f"`reward_split` is {self.reward_split!r}; choose 'public' or 'all'. The private part is only reported."
            )
        if self.infrastructure_retries < 0:
            raise ConfigError(f"`infrastructure_retries` is {self.infrastructure_retries}; it must be 0 or more.")


@dataclass(frozen=True)
class SandboxConfig:
    """Parameters that control how programs are run.

    Args:
        workers (`int`, *optional*):
            Programs that run at the same time. Defaults to the number of cores that this process may use.
        isolation (`str`, *optional*, defaults to `"required"`):
            `"required"` refuses to run where programs could read the answers. `"none"` runs them all the same, with a
            warning: for machines whose programs you trust.
        wall_s (`float`, *optional*):
            Wall-clock limit of a program in seconds. Defaults to the task's own.
        preload (`tuple[str, ...]`):
            Modules that a worker imports once, so that programs start at once.
    """

    workers: int | None = None
    isolation: Literal["required", "none"] = "required"
    wall_s: float | None = None
    preload: tuple[str, ...] = ("numpy", "pandas", "sklearn")

    def __post_init__(self):
        if self.workers is not None and self.workers < 1:
            raise ConfigError(f"`workers` is {self.workers}; it must be at least 1.")
        if self.isolation not in ("required", "none"):
            raise ConfigError(f"`isolation` is {self.isolation!r}; choose 'required' or 'none'.")
        if self.wall_s is not None and not (math.isfinite(self.wall_s) and self.wall_s > 0):
            raise ConfigError(f"`wall_s` is {self.wall_s}; it must be a positive number of seconds.")
