"""`TaskPrompts`: the task of each group chosen by a curriculum, all prompts from scratch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trl_mle.curriculum.task_curriculum import TaskCurriculum
from trl_mle.prompts import build_prompt
from trl_mle.types import TaskSpec


class TaskPrompts:
    """The `group_prompts` of a run with a curriculum over tasks and without self-improvement prompts.

    Args:
        tasks (mapping from `str` to [`TaskSpec`]):
            Tasks by the name that dataset rows have in their column `task`.
        curriculum ([`TaskCurriculum`]):
            Chooses the task of each group.
    """

    def __init__(self, tasks: Mapping[str, TaskSpec], curriculum: TaskCurriculum):
        self._prompts = {name: build_prompt(task) for name, task in tasks.items()}
        self._curriculum = curriculum

    def choose(self, rows: list[dict[str, Any]], generation: int) -> list[dict[str, Any]]:
        """`rows`, one per group, with the task that it is the turn of. A row keeps its prompt if its task stays."""
        names = self._curriculum.choose([row["task"] for row in rows], generation)
        return [
            row if row["task"] == name else {**row, "task": name, "prompt": self._prompts[name]}
            for row, name in zip(rows, names, strict=True)
        ]

    def observe(self, columns: Mapping[str, Sequence[Any]]) -> dict[str, float]:
        """Let the curriculum learn from a scored batch; returns its metrics."""
        return self._curriculum.observe(columns)

    def state_dict(self) -> dict[str, Any]:
        """The state of the curriculum."""
        return self._curriculum.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict()`."""
        self._curriculum.load_state_dict(state)

    def close(self) -> None:
        """Nothing to close."""
