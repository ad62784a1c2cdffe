"""`PredictedParents`: the parent whose children succeed about half of the time, as a predictor expects it."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from trl_mle.comparison import prompt_kind_of, succeeded
from trl_mle.curriculum.lineage import known
from trl_mle.experience import Experience, ExperienceStore
from trl_mle.experience.success_predictor import Candidate, SuccessPredictor, observations_of
from trl_mle.outcomes import Column, RunColumn
from trl_mle.types import TaskSpec

DRAWS = 8
"""Parents among which the predictor chooses; each is drawn by `score_weighted`, so bad programs seldom come up."""


class PredictedParents:
    """The strategy `predicted` of [`ExperiencePrompts`].

    Its predictor is not in checkpoints: it follows from the outcomes of the store, in their order, and is made anew from them.

    Args:
        store ([`ExperienceStore`]):
            The run's store.
    """

    def __init__(self, store: ExperienceStore):
        self._predictor = SuccessPredictor()
        self.restart(store)

    def restart(self, store: ExperienceStore) -> None:
        """Learn anew from everything in the store that counts."""
        self._predictor = SuccessPredictor()
        self._predictor.observe_all(observations_of(store))

    def choose(self, store: ExperienceStore, task: TaskSpec, source: random.Random) -> Experience | None:
        """An earlier valid program of `task`, or `None` if there is none."""
        drawn: dict[Candidate, Experience] = {}
        for _ in range(DRAWS):
            parent = store.choose_parent(task, "score_weighted", source)
            if parent is None:
                return None
            drawn[Candidate(task.id, "improve", parent.id)] = parent
        (best,) = self._predictor.choose(list(drawn), 1, source)
        return drawn[best]

    def observe(self, columns: Mapping[str, list]) -> None:
        """Learn from the rollouts of a batch (column name -> `B` values), which the store keeps, too."""
        nothing = [None] * len(columns.get(Column.TASK_ID, ()))
        names = (
            Column.TASK_ID,
            Column.KIND,
            Column.REWARD_SCORE,
            RunColumn.PROMPT_KIND,
            RunColumn.PARENT,
            RunColumn.PARENT_SCORE,
        )
        for values in zip(*(columns.get(name, nothing) for name in names), strict=True):
            task_id, kind, score, prompt_kind, parent_id, parent_score = map(known, values)
            candidate = Candidate(
                str(task_id), prompt_kind_of(prompt_kind, parent_score), None if parent_id is None else int(parent_id)
            )
            self._predictor.observe(candidate, succeeded(kind, score, parent_score))

    def probability(self, candidate: Any) -> float:
        """See [`SuccessPredictor.probability`]."""
        return self._predictor.probability(candidate)
