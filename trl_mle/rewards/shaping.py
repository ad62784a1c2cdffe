"""From what happened to a scalar: pure functions.

A valid submission is worth its transformed score in [-1, 1]; anything else is worth
`failure_reward + milestone_reward * milestones reached` (paper: -10 and 0.1). `RewardConfig` refuses settings with which a
failure could be worth as much as a valid submission.
"""

from __future__ import annotations

from collections.abc import Mapping

from trl_mle.config import RewardConfig
from trl_mle.rewards.score_transform import transform_score
from trl_mle.types import Direction, Execution, Grade, OutcomeKind, ScoreTransform


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
