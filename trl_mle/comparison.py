"""Is a child better than its parent? The one answer for metrics, reports, curricula, the store and the success predictor.

What is compared is the public score on the scale of the reward. Equal scores are no improvement, so a copy of its parent is none.
A failure and a time-out are none. An infrastructure fault says nothing, and neither does a completion without an outcome.
"""

from __future__ import annotations

import math
from typing import Any

from trl_mle.types import Outcome


def score_of(outcome: Outcome) -> float | None:
    """What children of `outcome` are compared with: its score on the scale of the reward, `None` unless it is valid and finite."""
    if outcome.kind != "valid":
        return None
    return _number(outcome.reward_parts.get("score", outcome.reward))


def is_better(kind: Any, score: Any, parent_score: Any) -> bool | None:
    """Whether a child is better than its valid parent; `None` where there is nothing to compare.

    The arguments are those of a row of rollouts, where a missing value is `None` or not-a-number.

    Args:
        kind (`str`, *optional*):
            What came of the child (`OutcomeKind`).
        score (`float`, *optional*):
            Its public score on the scale of the reward.
        parent_score (`float`, *optional*):
            That of the parent; missing from scratch, and for a parent that failed.
    """
    parent = _number(parent_score)
    if parent is None or not says_something(kind):
        return None
    own = _number(score)
    return kind == "valid" and own is not None and own > parent


def succeeded(kind: Any, score: Any, parent_score: Any) -> bool | None:
    """Whether a completion did what its prompt asks for: better than the valid parent, or else valid. `None` for a fault.

    The arguments are those of [`is_better`].
    """
    if not says_something(kind):
        return None
    better = is_better(kind, score, parent_score)
    return kind == "valid" if better is None else better


def says_something(kind: Any) -> bool:
    """Whether there is an outcome, and it is one of the policy."""
    return isinstance(kind, str) and kind != "fault"


def prompt_kind_of(prompt_kind: Any, parent_score: Any) -> str:
    """The kind of a prompt. A row that does not name it had a prompt to improve if it has the score of a parent."""
    if isinstance(prompt_kind, str):
        return str(prompt_kind)
    return "scratch" if _number(parent_score) is None else "improve"


def _number(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
