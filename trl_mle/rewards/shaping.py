"""From what happened to a scalar: pure functions.

A valid submission is worth its transformed score in [-1, 1]; anything else is worth
`failure_reward + milestone_reward * milestones reached` (paper: -10 and 0.1). `RewardConfig` refuses settings with which a
failure could be worth as much as a valid submission.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from trl_mle.config import RewardConfig
from trl_mle.types import Direction, Execution, Grade, OutcomeKind, ScoreTransform


def transform_score(score: float, direction: Direction, transform: ScoreTransform) -> float:
    """Raw `score` -> number in [-1, 1] where higher is better.

    Raises:
        ValueError: a score that is not finite; such a score is never valid.
    """
    if not math.isfinite(score):
        raise ValueError(f"score {score} is not finite")
    if transform.kind == "identity":
        value = score if direction == "maximize" else -score
    else:
        assert transform.worst is not None and transform.best is not None
        worst, best = transform.worst, transform.best
        if transform.kind == "log":
            # A score of 0 is the best that a positive, lower-is-better metric can be; keep its logarithm finite.
            tiny = min(abs(worst), abs(best)) * 1e-6
            score, worst, best = (math.log(max(number, tiny)) for number in (score, worst, best))
        value = 2.0 * (score - worst) / (best - worst) - 1.0
    return min(1.0, max(-1.0, value))


def classify(execution: Execution | None, grade: Grade | None) -> OutcomeKind:
    """`valid`, `timeout` (censored) or `failure`; an infrastructure fault never gets this far."""
    if execution is not None and execution.status == "timeout":
        return "timeout"
    if grade is not None and grade.valid:
        return "valid"
    return "failure"


def reward_parts(
    kind: OutcomeKind,
    milestones: int,
    grade: Grade | None,
    direction: Direction,
    transform: ScoreTransform,
    config: RewardConfig,
) -> Mapping[str, float]:
    """The named parts of the reward, whose sum is the reward.

    `{"score": ...}` for a valid submission, `{"failure": ..., "milestones": ...}` for a failure or a time-out.
    """
    if kind == "valid":
        assert grade is not None and grade.score is not None
        return {"score": transform_score(grade.score, direction, transform)}
    return {"failure": config.failure_reward, "milestones": config.milestone_reward * milestones}
