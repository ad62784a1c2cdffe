"""The reward of a child as its gain over the parent that its prompt showed.

Within a group all children have the same parent, so a difference alone would change nothing: GRPO subtracts the group's mean. What
changes something is that a child worse than its parent is worth as much as an equal one. At test time the better of the two
programs counts, so only what a child adds is of value, and a policy may dare more.
"""

from __future__ import annotations

import math

from trl_mle.comparison import score_of
from trl_mle.types import Outcome

LOWEST = -1.0
"""Lowest reward of a valid submission."""


def gain_of(outcome: Outcome, parent_score: float | None) -> float | None:
    """What `outcome` adds to its parent: `max(0, reward - parent's reward) / 2`, in [0, 1].

    A program from scratch, or one that repairs a failure, is compared with the lowest valid reward: its part is its score on
    another scale. A failure, a time-out and an infrastructure fault have no part (`None`), as in `score`: `validity` beside it
    says what they are worth.

    Args:
        outcome ([`Outcome`]):
            The child.
        parent_score (`float`, *optional*):
            Reward of its valid parent, in [-1, 1]; `None` or NaN without one. A reward below -1 is that of a failure and counts
            as none.
    """
    score = score_of(outcome)
    if score is None:
        return None
    base = LOWEST if parent_score is None or math.isnan(parent_score) else max(LOWEST, parent_score)
    return max(0.0, score - base) / 2
