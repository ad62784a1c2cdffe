"""The curriculum over tasks of a run, from its settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trl_mle.curriculum.task_curriculum import TaskCurriculum
from trl_mle.errors import ConfigError
from trl_mle.types import TaskSpec


def make_curriculum(mle_args: Any, tasks: Mapping[str, TaskSpec]) -> TaskCurriculum | None:
    """What chooses the task of each group, or `None` if groups have the tasks of the data set's rows."""
    config = mle_args.curriculum_config()
    return None if config.task_curriculum == "uniform" else TaskCurriculum(tasks, config)


def check_uniform(mle_args: Any) -> None:
    """Raise `ConfigError` if a curriculum is set for a script that takes the rows of the data set as they come."""
    name = mle_args.curriculum_config().task_curriculum
    if name != "uniform":
        raise ConfigError(f"`task_curriculum` is {name!r}; this script knows 'uniform' alone. Use `trl-mle grpo`.")
