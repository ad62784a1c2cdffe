"""Settings of the reward."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import ClassVar, Literal

from trl_mle.config.base import Key, Keys, check_choice, check_least
from trl_mle.errors import ConfigError
from trl_mle.types import MILESTONES, Split


@dataclass(frozen=True)
class RewardConfig:
    """Parameters that control how an outcome becomes a reward. Defaults are the paper's.

    Args:
        failure_reward (`float`, *optional*, defaults to `-10.0`):
            Reward of a completion without a valid submission and without a milestone.
        milestone_reward (`float`, *optional*, defaults to `0.1`):
            Added for each milestone that a failed program reached.
        reward_split (`str`, *optional*, defaults to `"public"`):
            Part of the answers whose score is the reward: `"public"`, or `"all"` as in the paper. With `"all"` the policy is
            also trained on the private part, so the private score is no independent test.
        aggregation (`str`, *optional*, defaults to `"sum"`):
            How validity and score become an advantage. `"sum"` is the paper's single reward, in which one failure drowns the
            differences between valid scores. `"parts"` normalises validity and score apart within each group, then adds them.
            `"rank"` does so with the rank of the score within its group, `"gain"` with what a program adds to the earlier one that
            its prompt showed.
        infrastructure_retries (`int`, *optional*, defaults to `2`):
            Retries of a program after an infrastructure fault. Only a program that had not started is retried, so no program
            runs twice.
        early_exit (`float`, *optional*, defaults to `0.0`):
            Stops a program once the progress that it prints (`Epoch 3/100`) shows that it needs more than this many times its
            time limit, for example 3. It is a time-out, and its duration counts as the limit. 0 stops none.
    """

    KEYS: ClassVar[Keys] = {
        "failure_reward": "failure_reward",
        "milestone_reward": "milestone_reward",
        "reward_split": "reward_split",
        "aggregation": Key(
            "reward_aggregation", if_unset="parts for trl-mle grpo, sum for agents and trl-mle async-grpo"
        ),
        "infrastructure_retries": "infrastructure_retries",
        "early_exit": "program_early_exit",
    }

    failure_reward: float = -10.0
    milestone_reward: float = 0.1
    reward_split: Split = "public"
    aggregation: Literal["sum", "parts", "rank", "gain"] = "sum"
    infrastructure_retries: int = 2
    early_exit: float = 0.0

    def __post_init__(self):
        for name in ("failure_reward", "milestone_reward"):
            value = getattr(self, name)
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not is_number or not abs(value) <= sys.float_info.max:
                raise ConfigError(f"`{name}` is {value!r}; it must be a finite number.")
        if isinstance(self.infrastructure_retries, bool) or not isinstance(self.infrastructure_retries, int):
            raise ConfigError(
                f"`infrastructure_retries` is {self.infrastructure_retries!r}; it must be a whole number."
            )
        if isinstance(self.early_exit, bool) or not (
            self.early_exit == 0 or 1 <= self.early_exit <= sys.float_info.max
        ):
            raise ConfigError(
                f"`program_early_exit` is {self.early_exit!r}; it must be 0 (never) or a number of at least 1."
            )
        if self.milestone_reward < 0:
            raise ConfigError(f"`milestone_reward` is {self.milestone_reward}; it must not be negative.")
        best_failure = self.failure_reward + self.milestone_reward * len(MILESTONES)
        if best_failure >= -1.0:
            raise ConfigError(
                f"`failure_reward`={self.failure_reward} and `milestone_reward`={self.milestone_reward} make a failed "
                f"program with every milestone worth {best_failure:g}, but a valid submission can be worth -1. Lower "
                f"`failure_reward` below {-1.0 - self.milestone_reward * len(MILESTONES):g}."
            )
        check_choice("reward_aggregation", self.aggregation, ("sum", "parts", "rank", "gain"))
        check_choice("reward_split", self.reward_split, ("public", "all"), " The private part is only reported.")
        check_least(self, infrastructure_retries=0)
