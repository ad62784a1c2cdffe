"""Predicts how likely a prompt is to succeed, so that a curriculum can ask for what succeeds about half of the time.

A group whose completions all succeed, or all fail, teaches nothing about success: the variance `p (1 - p)` is largest near one
half (learnability: Foster et al., arXiv 2502.12272). The estimate of `p` is a Beta posterior
whose counts fade, because the policy changes. A parent that was shown seldom borrows from its task and kind of prompt.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from trl_mle.comparison import score_of, succeeded
from trl_mle.experience.records import Experience


@dataclass(frozen=True)
class Candidate:
    """What a group of completions may be asked for."""

    task_id: str
    prompt_kind: str = "scratch"
    """`scratch`, `improve` or `debug`."""
    parent_id: int | None = None
    """The earlier outcome that the prompt shows."""


def observations_of(experiences: Iterable[Experience]) -> Iterator[tuple[Candidate, bool | None]]:
    """What a store's outcomes say about their prompts, in their order: for [`SuccessPredictor.observe_all`]."""
    scores: dict[int, float | None] = {}
    for experience in experiences:
        outcome, parent = experience.outcome, experience.parent_id
        scores[experience.id] = score_of(outcome)
        success = succeeded(outcome.kind, scores[experience.id], None if parent is None else scores.get(parent))
        yield Candidate(outcome.task_id, experience.prompt_kind, parent), success


class SuccessPredictor:
    """Success probability of prompts, from counts of successes and failures that fade.

    Equal observations in equal order give equal predictions, so a predictor is rebuilt from the outcomes of a store. No time and
    no absolute id has a part in it. Memory is bounded: of the parents, the ones observed last are kept.

    Args:
        half_life (`float`, *optional*, defaults to `64`):
            Later observations of a key after which an observation counts half.
        borrowed (`float`, *optional*, defaults to `4`):
            Number of observations that the rate of the task and kind of prompt stands for in the estimate of a parent.
        max_parents (`int`, *optional*, defaults to `10000`):
            Most parents that are remembered.
    """

    def __init__(self, half_life: float = 64.0, borrowed: float = 4.0, max_parents: int = 10_000):
        if not half_life > 0 or not borrowed > 0 or max_parents < 1:
            raise ValueError("`half_life` and `borrowed` must be above 0, and `max_parents` at least 1")
        self._fade = 0.5 ** (1 / half_life)
        self._borrowed = borrowed
        self._max_parents = max_parents
        self._kinds: dict[Hashable, tuple[float, float]] = {}
        self._parents: OrderedDict[Candidate, tuple[float, float]] = OrderedDict()

    def observe(self, candidate: Candidate, success: bool | None) -> None:
        """Count the outcome of one completion. `None` counts nothing."""
        if success is None:
            return
        kind = (candidate.task_id, candidate.prompt_kind)
        self._kinds[kind] = self._counted(self._kinds.get(kind, (0.0, 0.0)), success)
        if candidate.parent_id is not None:
            self._parents[candidate] = self._counted(self._parents.pop(candidate, (0.0, 0.0)), success)
            if len(self._parents) > self._max_parents:
                self._parents.popitem(last=False)

    def observe_all(self, observations: Iterable[tuple[Candidate, bool | None]]) -> None:
        """Count outcomes in their order, such as those of a store."""
        for candidate, success in observations:
            self.observe(candidate, success)

    def probability(self, candidate: Candidate) -> float:
        """Estimate of the share of completions that succeed, strictly between 0 and 1; one half where nothing is known."""
        successes, failures = self._posterior(candidate)
        return successes / (successes + failures)

    def learnability(self, candidate: Candidate) -> float:
        """Expected `p (1 - p)` under the posterior, above 0 and below 1/4."""
        a, b = self._posterior(candidate)
        return a * b / ((a + b) * (a + b + 1))

    def choose(self, candidates: Sequence[Candidate], count: int, rng: random.Random) -> list[Candidate]:
        """`count` candidates to ask for, each one only once until all have been chosen.

        Thompson sampling: for each candidate, `p` is drawn from its posterior, and the one with the largest `p (1 - p)` is chosen.
        So candidates about which little is known get their turn.

        Raises:
            ValueError: there is no candidate.
        """
        if not candidates:
            raise ValueError("there is no candidate to choose")
        chosen: list[Candidate] = []
        while len(chosen) < count:
            drawn = [rng.betavariate(*self._posterior(candidate)) for candidate in candidates]
            order = sorted(range(len(candidates)), key=lambda index: drawn[index] * (drawn[index] - 1))
            chosen += [candidates[index] for index in order[: count - len(chosen)]]
        return chosen

    def _counted(self, counts: tuple[float, float], success: bool) -> tuple[float, float]:
        successes, failures = (self._fade * number for number in counts)
        return successes + success, failures + (not success)

    def _posterior(self, candidate: Candidate) -> tuple[float, float]:
        """Parameters of the Beta posterior, both above 0."""
        successes, failures = self._kinds.get((candidate.task_id, candidate.prompt_kind), (0.0, 0.0))
        successes, failures = successes + 1.0, failures + 1.0  # the uniform prior
        own = self._parents.get(candidate) if candidate.parent_id is not None else None
        if candidate.parent_id is None:
            return successes, failures
        share = successes / (successes + failures)
        seen = own or (0.0, 0.0)
        return seen[0] + self._borrowed * share, seen[1] + self._borrowed * (1 - share)
