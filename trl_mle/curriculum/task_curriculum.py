"""`TaskCurriculum`: which task each group of a generation batch gets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from trl_mle.comparison import prompt_kind_of, succeeded
from trl_mle.config import CurriculumConfig
from trl_mle.curriculum.learnability import Progress, Result, learnability_of, learnable_shares
from trl_mle.curriculum.mixture import deal, normalized
from trl_mle.errors import ConfigError
from trl_mle.outcomes import Column, RunColumn
from trl_mle.rewards.task_metrics import TASKS_SHOWN
from trl_mle.types import TaskSpec


class TaskCurriculum:
    """Deals out tasks to groups in fixed shares, or in shares that follow what each task teaches.

    It is a `TaskChooser` of [`ExperiencePrompts`], and stands on the main process only. Its choice follows from the number of
    earlier groups and the results that it has seen, both of which are in checkpoints.

    Args:
        tasks (mapping from `str` to [`TaskSpec`]):
            Tasks of the run by the name that dataset rows have in their column `task`.
        config ([`CurriculumConfig`], *optional*):
            Shares.

    Raises:
        ConfigError: the number of weights is not that of the tasks.
    """

    def __init__(self, tasks: Mapping[str, TaskSpec], config: CurriculumConfig | None = None):
        self._config = config or CurriculumConfig()
        weights = self._config.task_weights or [1.0] * len(tasks)
        if len(weights) != len(tasks):
            raise ConfigError(
                f"`task_weights` has {len(weights)} numbers, but there are {len(tasks)} tasks. Give one number per task, in the "
                "order of `tasks`."
            )
        self._fixed = normalized(dict(zip(tasks, weights, strict=True)))
        self._names = {task.id: name for name, task in tasks.items()}
        self._credit: dict[str, float] = {}
        self._progress: dict[str, dict[str, Progress]] = {name: {} for name in tasks}

    @property
    def learnability(self) -> dict[str, float]:
        """Name of each task -> how much there is to learn from it at present, in (0, 1]."""
        return {name: learnability_of(kinds.values()) for name, kinds in self._progress.items()}

    @property
    def shares(self) -> dict[str, float]:
        """Name of each task -> its share of the next groups."""
        if self._config.task_curriculum != "learnability":
            return dict(self._fixed)
        return learnable_shares(self.learnability, self._config.task_floor)

    def choose(self, names: Sequence[str], generation: int) -> list[str]:
        """Names of tasks for as many groups as `names`, which are those of the data set's rows."""
        chosen, self._credit = deal(self._credit, self.shares, len(names))
        return chosen

    def observe(self, columns: Mapping[str, Sequence[Any]]) -> dict[str, float]:
        """Learn from the rollouts of a global batch (column name -> `B` values). Returns metrics, for few tasks by name."""
        for name, kind, result in self._results(columns):
            kinds = self._progress[name]
            kinds[kind] = kinds.get(kind, Progress()).after(result, self._config.task_half_life)
        shares, learnability = self.shares, self.learnability
        shown = list(self._names.items())[:TASKS_SHOWN]
        return {
            "curriculum/share_min": min(shares.values()),
            "curriculum/share_max": max(shares.values()),
            **{f"task/{task_id}/share": shares[name] for task_id, name in shown},
            **{f"task/{task_id}/learnability": learnability[name] for task_id, name in shown},
        }

    def _results(self, columns: Mapping[str, Sequence[Any]]) -> list[tuple[str, str, Result]]:
        """Task, kind of prompt and result of each rollout that says something about the policy."""
        ids = columns.get(Column.TASK_ID, ())
        nothing = [None] * len(ids)
        kinds, scores, prompt_kinds, parent_scores = (
            columns.get(name, nothing)
            for name in (Column.KIND, Column.REWARD_SCORE, RunColumn.PROMPT_KIND, RunColumn.PARENT_SCORE)
        )
        results = []
        for task_id, kind, score, prompt_kind, parent_score in zip(
            ids, kinds, scores, prompt_kinds, parent_scores, strict=True
        ):
            success = succeeded(kind, score, parent_score)
            # A program that overlap has lost has no outcome, and a fault of the infrastructure is none of the policy.
            if success is None or task_id not in self._names:
                continue
            is_scored = kind == "valid" and score is not None and math.isfinite(score)
            result = Result(success, score if is_scored else None)
            results.append((self._names[task_id], prompt_kind_of(prompt_kind, parent_score), result))
        return results

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint, as plain values."""
        progress = {
            name: {kind: each.plain() for kind, each in kinds.items()} for name, kinds in self._progress.items()
        }
        return {"credit": dict(self._credit), "progress": progress}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict()`. Tasks that the run no longer has are forgotten."""
        self._credit = {name: value for name, value in state["credit"].items() if name in self._fixed}
        for name, kinds in state["progress"].items():
            if name in self._progress:
                self._progress[name] = {kind: Progress(*sums) for kind, sums in kinds.items()}
