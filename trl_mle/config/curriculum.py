"""Settings of the curriculum: which tasks a run practises how often."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from trl_mle.config.base import Keys, check_choice
from trl_mle.errors import ConfigError

CURRICULA = ("uniform", "weights", "learnability")


@dataclass(frozen=True)
class CurriculumConfig:
    """Parameters that control which task each group of completions gets, in a run on several tasks.

    Args:
        task_curriculum (`str`, *optional*, defaults to `"uniform"`):
            `"uniform"` takes the rows of the data set as they come, which has as many of each task. `"weights"` gives each task
            its share of `task_weights`, exact over time. `"learnability"` gives more groups to tasks whose success rate is near
            one half or whose scores change.
        task_weights (`list[float]`, *optional*):
            For `"weights"`: one positive number per task, in the order of `tasks`.
        task_floor (`float`, *optional*, defaults to `0.25`):
            For `"learnability"`: part of the groups that all tasks share equally, whatever they teach, so that none starves.
        task_half_life (`float`, *optional*, defaults to `64`):
            For `"learnability"`: completions of a task after which a result counts half.
    """

    KEYS: ClassVar[Keys] = {
        "task_curriculum": "task_curriculum",
        "task_weights": "task_weights",
        "task_floor": "task_floor",
        "task_half_life": "task_half_life",
    }

    task_curriculum: Literal["uniform", "weights", "learnability"] = "uniform"
    task_weights: list[float] | None = None
    task_floor: float = 0.25
    task_half_life: float = 64.0

    def __post_init__(self):
        check_choice("task_curriculum", self.task_curriculum, CURRICULA)
        if (self.task_curriculum == "weights") != (self.task_weights is not None):
            raise ConfigError(
                f"`task_curriculum` is {self.task_curriculum!r} and `task_weights` is {self.task_weights}; weights belong to "
                "`task_curriculum: weights`. Set both or none."
            )
        for weight in self.task_weights or ():
            if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 < weight < math.inf:
                raise ConfigError(f"`task_weights` has {weight!r}; each must be a positive number.")
        if not 0.0 < self.task_floor <= 1.0:
            raise ConfigError(
                f"`task_floor` is {self.task_floor}; it must lie above 0, so that no task starves, and at most at 1."
            )
        if not 1.0 <= self.task_half_life < math.inf:
            raise ConfigError(
                f"`task_half_life` is {self.task_half_life}; it must be a number of completions, 1 or more."
            )
