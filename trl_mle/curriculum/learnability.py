"""How much there is to learn from a task at present: pure functions of its recent results.

A task teaches most where success is neither rare nor certain: the variance of a success with probability `p` is `p (1 - p)`.
Once nearly all submissions are valid, the scores still move. Absolute progress of the scores (Matiisen et al., arXiv 1707.00183)
counts as well, so that a task whose scores fall is practised, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, replace

PRIOR = 2.0
"""Results that a task begins with, half of them successes: a task without results counts as half learnt."""
SLOW = 4.0
"""Half-life of the longer memory of scores, in half-lives of the shorter one."""
NOISE = 2.0
"""Standard errors of the recent mean score up to which a change is taken for noise."""


@dataclass(frozen=True)
class Result:
    """One scored completion. Infrastructure faults are none: they say nothing about the policy."""

    is_success: bool
    """From scratch: a valid submission. With a valid parent: a better one than the parent's. A time-out is no success."""
    score: float | None = None
    """Score reward of a valid submission, in [-1, 1]."""


@dataclass(frozen=True)
class Progress:
    """What is remembered of a task: sums whose terms lose half of their weight per half-life."""

    tries: float = 0.0
    successes: float = 0.0
    recent_weight: float = 0.0
    recent_squared_weight: float = 0.0
    recent_scores: float = 0.0
    weight: float = 0.0
    scores: float = 0.0
    squared_scores: float = 0.0

    def after(self, result: Result, half_life: float) -> Progress:
        """Progress with one more result; `half_life` is a number of results."""
        decay = 0.5 ** (1.0 / half_life)
        new = replace(
            self,
            tries=self.tries * decay + 1.0,
            successes=self.successes * decay + float(result.is_success),
        )
        if result.score is None or not math.isfinite(result.score):
            return new
        slow = 0.5 ** (1.0 / (half_life * SLOW))
        return replace(
            new,
            recent_weight=self.recent_weight * decay + 1.0,
            recent_squared_weight=self.recent_squared_weight * decay**2 + 1.0,
            recent_scores=self.recent_scores * decay + result.score,
            weight=self.weight * slow + 1.0,
            scores=self.scores * slow + result.score,
            squared_scores=self.squared_scores * slow + result.score**2,
        )

    @property
    def success_rate(self) -> float:
        """Estimate of the probability of a success, strictly between 0 and 1."""
        return (self.successes + PRIOR / 2.0) / (self.tries + PRIOR)

    @property
    def score_change(self) -> float:
        """Size of the recent change of the mean score beyond noise, in standard deviations of the scores, in [0, 1]."""
        if self.weight == 0.0:
            return 0.0
        mean = self.scores / self.weight
        variance = self.squared_scores / self.weight - mean**2
        # Differences of rounding are no change.
        if variance <= 1e-12:
            return 0.0
        change = abs(self.recent_scores / self.recent_weight - mean) / math.sqrt(variance)
        noise = NOISE * math.sqrt(self.recent_squared_weight) / self.recent_weight
        return min(max(change - noise, 0.0), 1.0)

    @property
    def learnability(self) -> float:
        """How much there is to learn, in (0, 1]: `4 p (1 - p)`, or the change of the scores if that is larger."""
        return max(4.0 * self.success_rate * (1.0 - self.success_rate), self.score_change)

    def plain(self) -> list[float]:
        """The sums as a list, for a checkpoint; `Progress(*plain)` reads them back."""
        return list(astuple(self))


def learnability_of(kinds: Iterable[Progress]) -> float:
    """Learnability of a task whose kinds of prompt are remembered apart: their mean, weighted by the number of tries."""
    known = [progress for progress in kinds if progress.tries > 0.0]
    if not known:
        return Progress().learnability
    return sum(each.tries * each.learnability for each in known) / sum(each.tries for each in known)


def learnable_shares(learnability: Mapping[str, float], floor: float) -> dict[str, float]:
    """Shares of the groups, which sum to 1, in proportion to learnability.

    Args:
        learnability (mapping from name to `float`):
            Numbers from 0 to 1.
        floor (`float`):
            Part of the groups, from 0 to 1, that all tasks share equally whatever they teach: no task gets less than `floor` over
            their number, so that none starves, and one that has become learnable is noticed.
    """
    equal = 1.0 / len(learnability)
    total = sum(learnability.values())
    if total <= 0.0:
        return dict.fromkeys(learnability, equal)
    return {name: floor * equal + (1.0 - floor) * (value / total) for name, value in learnability.items()}
