"""Outcome -> scalar: the invariant that no failure is worth as much as a valid submission, and the paper's numbers."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from trl_mle import Execution, Grade, RewardConfig
from trl_mle.errors import ConfigError
from trl_mle.rewards.shaping import classify, reward_parts, transform_score
from trl_mle.types import MILESTONES, ScoreTransform

finite = st.floats(allow_nan=False, allow_infinity=False, width=32)
directions = st.sampled_from(["maximize", "minimize"])


@st.composite
def transforms(draw):
    kind = draw(st.sampled_from(["identity", "linear", "log"]))
    if kind == "identity":
        return ScoreTransform()
    low = 1e-3 if kind == "log" else -1e6
    worst = draw(st.floats(low, 1e6))
    best = draw(st.floats(low, 1e6))
    assume(abs(worst - best) > 1e-3 * max(abs(worst), abs(best), 1e-3))
    return ScoreTransform(kind, worst, best)


@st.composite
def configs(draw):
    failure = draw(st.floats(-100, -1.01))
    most = (-1.0 - failure) / len(MILESTONES)
    return RewardConfig(failure_reward=failure, milestone_reward=draw(st.floats(0, most * 0.999)))


@given(finite, directions, transforms(), configs(), st.integers(0, len(MILESTONES)))
def test_any_valid_submission_is_worth_more_than_any_failure(score, direction, transform, config, milestones):
    grade = Grade(score, True)
    valid = sum(reward_parts("valid", 0, grade, direction, transform, config).values())
    for kind in ("failure", "timeout"):
        assert sum(reward_parts(kind, milestones, None, direction, transform, config).values()) < valid


@given(finite, directions, transforms())
def test_scores_stay_in_range(score, direction, transform):
    assert -1.0 <= transform_score(score, direction, transform) <= 1.0


@given(transforms(), finite, finite)
def test_better_scores_are_never_worth_less(transform, first, second):
    direction = "maximize"
    if transform.kind != "identity" and transform.best < transform.worst:
        direction = "minimize"
    low, high = sorted((first, second))
    worse, better = (low, high) if direction == "maximize" else (high, low)
    assert transform_score(worse, direction, transform) <= transform_score(better, direction, transform)


def test_linear_and_log_map_their_ends():
    linear = ScoreTransform("linear", worst=500.0, best=100.0)
    assert [transform_score(s, "minimize", linear) for s in (500.0, 300.0, 100.0)] == [-1.0, 0.0, 1.0]
    log = ScoreTransform("log", worst=1.0, best=0.01)
    assert transform_score(0.1, "minimize", log) == pytest.approx(0.0)
    assert transform_score(0.0, "minimize", log) == 1.0


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_is_never_transformed(score):
    with pytest.raises(ValueError, match="not finite"):
        transform_score(score, "maximize", ScoreTransform())


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
