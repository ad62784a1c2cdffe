"""Outcome -> scalar: the invariant that no failure is worth as much as a valid submission, and the paper's numbers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rewards.test_score_transform import finite, transforms
from trl_mle import Execution, Grade, RewardConfig
from trl_mle.errors import ConfigError
from trl_mle.rewards.shaping import classify, reward_parts
from trl_mle.types import MILESTONES, ScoreTransform


@st.composite
def configs(draw):
    failure = draw(st.floats(-100, -1.01))
    most = (-1.0 - failure) / len(MILESTONES)
    return RewardConfig(failure_reward=failure, milestone_reward=draw(st.floats(0, most * 0.999)))


@given(finite, transforms(), configs(), st.integers(0, len(MILESTONES)))
def test_any_valid_submission_is_worth_more_than_any_failure(score, directed, config, milestones):
    direction, transform = directed
    grade = Grade(score, True)
    valid = sum(reward_parts("valid", 0, grade, direction, transform, config).values())
    for kind in ("failure", "timeout"):
        assert sum(reward_parts(kind, milestones, None, direction, transform, config).values()) < valid


@pytest.mark.parametrize("milestones", range(len(MILESTONES) + 1))
def test_the_papers_numbers(milestones):
    parts = reward_parts("failure", milestones, None, "maximize", ScoreTransform(), RewardConfig())
    assert sum(parts.values()) == pytest.approx(-10 + 0.1 * milestones)


def run(status):
    return Execution(status, 0, 1.0, 1.0, 1, "", "")


def test_three_kinds():
    assert classify(run("ok"), Grade(0.5, True)) == "valid"
    assert classify(run("ok"), Grade(None, False, "no file")) == "failure"
    assert classify(run("timeout"), None) == "timeout"
    assert classify(run("memory"), None) == "failure"
    assert classify(None, None) == "failure"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"failure_reward": -1.5}, "-1.5.*0.1.*Lower `failure_reward` below -1.7"),
        ({"milestone_reward": 2.0}, "milestone_reward.*2.0"),
        ({"milestone_reward": -0.1}, "must not be negative"),
        ({"failure_reward": math.nan}, "nan"),
        ({"reward_split": "test"}, "'test'"),
        ({"reward_split": "private"}, "only reported"),
        ({"infrastructure_retries": -1}, "-1"),
        ({"failure_reward": "low"}, "`failure_reward` is 'low'; it must be a finite number"),
        ({"milestone_reward": None}, "`milestone_reward` is None"),
        ({"infrastructure_retries": "2"}, "`infrastructure_retries` is '2'; it must be a whole number"),
    ],
)
def test_settings_that_break_the_order_are_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        RewardConfig(**settings)
