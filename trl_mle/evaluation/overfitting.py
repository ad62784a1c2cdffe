"""Whether a policy has learned the public answers of a task, instead of the task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trl_mle.outcomes import Column
from trl_mle.rewards.score_transform import transform_score
from trl_mle.types import TaskSpec

if TYPE_CHECKING:
    import pandas as pd

FEWEST = 10
"""Fewest valid programs in a fifth of a run."""
LEAST_GAIN = 0.1
"""Least gain of the public score that is looked at, on the scale of the reward."""
KEPT_SHARE = 0.25
"""Least share of the public gain that the private score shows too. Less than all is normal: the public score has noise."""


@dataclass(frozen=True)
class PublicAndPrivate:
    """Mean scores of the valid programs of one task, on the scale of the reward, in the first and in the last fifth of a run.

    The policy is rewarded by the public score. The private one, of other rows, has no part in training.
    """

    task_id: str
    public_first: float
    public_last: float
    private_first: float
    private_last: float

    @property
    def overfits(self) -> bool:
        """Whether the public score rose, and the private one by less than a quarter of that."""
        public = self.public_last - self.public_first
        private = self.private_last - self.private_first
        return public >= LEAST_GAIN and private < KEPT_SHARE * public

    def sentence(self, *, code: bool = False) -> str:
        """What happened, and what may help. With `code`, the id of the task is marked as code, for Markdown."""
        name = f"`{self.task_id}`" if code else self.task_id
        return (
            f"{name}: the policy fits the public answers. The mean score of its valid programs went from "
            f"{self.public_first:.2f} to {self.public_last:.2f} on the public rows and from {self.private_first:.2f} to "
            f"{self.private_last:.2f} on the private ones. More test rows may help, fewer updates, or `reward_aggregation: sum`."
        )


def public_and_private(
    first: pd.DataFrame, last: pd.DataFrame, tasks: Mapping[str, TaskSpec]
) -> dict[str, PublicAndPrivate]:
    """Task id -> both scores early and late in a run; tasks with too few graded programs are missing.

    Args:
        first, last (`pandas.DataFrame`):
            Rollouts of the first and of the last fifth of the run.
        tasks (mapping from task id to [`TaskSpec`]):
            The run's tasks, with the transform from raw score to reward.
    """
    found = {}
    for task_id, task in tasks.items():
        early, late = _graded(first, task_id), _graded(last, task_id)
        if min(len(early), len(late)) >= FEWEST:
            (public_first, private_first), (public_last, private_last) = _means(task, early), _means(task, late)
            found[task_id] = PublicAndPrivate(task_id, public_first, public_last, private_first, private_last)
    return found


def _graded(rollouts: pd.DataFrame, task_id: str) -> pd.DataFrame:
    """Valid programs of a task with both scores."""
    valid = rollouts[(rollouts[Column.TASK_ID] == task_id) & (rollouts[Column.KIND] == "valid")]
    return valid.dropna(subset=[Column.PUBLIC_SCORE, Column.PRIVATE_SCORE])


def _means(task: TaskSpec, programs: pd.DataFrame) -> tuple[float, float]:
    """Mean public and private score, on the scale of the reward."""
    public, private = (
        programs[column].astype(float).map(lambda score: transform_score(score, task.direction, task.transform)).mean()
        for column in (Column.PUBLIC_SCORE, Column.PRIVATE_SCORE)
    )
    return float(public), float(private)
