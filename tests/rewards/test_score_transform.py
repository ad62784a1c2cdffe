"""Raw score -> number in [-1, 1]: order, range, the middle part, the knots, and the leaderboard."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from trl_mle.rewards.score_transform import KNOT, transform_score
from trl_mle.types import ScoreTransform

finite = st.floats(allow_nan=False, allow_infinity=False)
directions = st.sampled_from(["maximize", "minimize"])


@st.composite
def transforms(draw):
    """A direction with a transform that `task.yaml` accepts."""
    direction = draw(directions)
    kind = draw(st.sampled_from(["identity", "linear", "log", "percentile"]))
    optimum = draw(st.none() | st.floats(-1e6, 1e6))
    if kind == "identity":
        return direction, ScoreTransform(optimum=optimum)
    if kind == "percentile":
        return direction, ScoreTransform(
            kind, optimum=optimum, leaderboard=tuple(draw(st.lists(finite, min_size=1, max_size=9)))
        )
    low = 1e-300 if kind == "log" else -1e307
    ends = sorted((draw(st.floats(low, 1e307)), draw(st.floats(low, 1e307))), reverse=direction == "minimize")
    assume(math.log(ends[0]) != math.log(ends[1]) if kind == "log" else ends[0] != ends[1])
    return direction, ScoreTransform(kind, *ends, optimum)


def ordered(first: float, second: float, direction: str) -> tuple[float, float]:
    """The worse and the better one of two scores."""
    low, high = sorted((first, second))
    return (low, high) if direction == "maximize" else (high, low)


@given(finite, finite, transforms())
@example(1.7e308, -1.7e308, ("minimize", ScoreTransform("linear", 5e-324, 0.0, 0.0)))
@example(0.0, 1.0, ("maximize", ScoreTransform("linear", -1e-93, 1.7e308)))
@example(0.0, -1e308, ("maximize", ScoreTransform("linear", 1.0, 1.7e308)))
@example(0.0, -5e-324, ("minimize", ScoreTransform("log", 1.0, 0.01, 0.0)))
def test_scores_are_in_range_and_never_out_of_order(first, second, directed):
    direction, transform = directed
    worse, better = (transform_score(score, direction, transform) for score in ordered(first, second, direction))
    assert -1.0 <= worse <= better <= 1.0


@given(
    st.floats(1.0, 1e300), st.floats(1.001, 10.0), st.booleans(), directions, st.sampled_from(["identity", "linear"])
)
def test_scores_beyond_the_ends_differ(distance, factor, is_good, direction, kind):
    """At any distance, two scores of which one is further off by a thousandth."""
    sign = 1.0 if (direction == "maximize") == is_good else -1.0
    ends = (None, None) if kind == "identity" else ordered(-1.0, 1.0, direction)
    near, far = (
        transform_score(sign * number, direction, ScoreTransform(kind, *ends))
        for number in (distance, distance * factor)
    )
    assert (KNOT < near < far) if is_good else (-KNOT > near > far)


@pytest.mark.parametrize(
    "transform",
    [
        ScoreTransform(),
        ScoreTransform("linear", 500.0, 120.0, 0.0),
        ScoreTransform("log", 0.8, 0.065, 0.0),
        ScoreTransform("percentile", leaderboard=(300.0, 200.0, 100.0), optimum=0.0),
    ],
)
def test_a_minimised_metric_tells_bad_scores_apart(transform):
    """All of these were worth -1 when values were clipped."""
    scores = [transform_score(600.0 * 10.0**power, "minimize", transform) for power in range(300)]
    assert all(better - worse > 1e-9 for better, worse in pairwise(scores))
    assert scores[0] - scores[3] > 0.003
    assert scores[3] - scores[6] > 0.0008
    assert scores[-1] > -1.0


@given(st.floats(-1, 1))
def test_the_middle_is_as_it_is_and_the_knots_are_smooth(value):
    transform = ScoreTransform("linear", worst=500.0, best=100.0)

    def at(value: float) -> float:
        return transform_score(300.0 - 200.0 * value, "minimize", transform)

    if abs(value) <= 0.8 - 1e-9:
        assert at(value) == pytest.approx(value, abs=1e-12)
    # The slope changes by no jump: it is 1 at the knots, and changes by at most 11 per unit beyond them.
    step = 1e-5
    slope = (at(value + step) - at(value - step)) / (2 * step)
    assert slope == pytest.approx(1.0, abs=12 * max(abs(value) - KNOT, 0) + 1e-3)


def test_linear_and_log_map_their_ends():
    linear = ScoreTransform("linear", worst=500.0, best=100.0)
    assert [transform_score(s, "minimize", linear) for s in (500.0, 300.0, 100.0)] == pytest.approx(
        [-0.895, 0.0, 0.895], abs=1e-3
    )
    log = ScoreTransform("log", worst=1.0, best=0.01)
    assert transform_score(0.1, "minimize", log) == pytest.approx(0.0)
    assert 0.98 < transform_score(1e-9, "minimize", log) < transform_score(0.0, "minimize", log) < 1.0


@pytest.mark.parametrize(
    ("direction", "transform", "score"),
    [
        ("maximize", ScoreTransform(optimum=1.0), 1.0),
        ("maximize", ScoreTransform("linear", 0.5, 1.0, 1.0), 1.0),
        ("minimize", ScoreTransform("linear", 4.0, 0.0, 0.0), 0.0),
        ("minimize", ScoreTransform("percentile", optimum=0.0, leaderboard=(0.0, 1.0)), 0.0),
        ("minimize", ScoreTransform("percentile", optimum=0.0, leaderboard=(0.5, 1.0)), 0.0),
    ],
)
def test_a_perfect_submission_is_worth_1_where_the_transform_ends_there(direction, transform, score):
    assert transform_score(score, direction, transform) == 1.0
    if transform.kind != "percentile":
        near = score + (0.001 if direction == "minimize" else -0.001)
        value = (near - (transform.worst or 0.0)) / (score - (transform.worst or 0.0))
        assert transform_score(near, direction, transform) == pytest.approx(
            value if transform.worst is None else 2 * value - 1
        )


def test_percentile_is_the_rank_on_the_leaderboard():
    board = ScoreTransform("percentile", leaderboard=(0.9, 0.7, 0.7, 0.5))
    values = {score: transform_score(score, "maximize", board) for score in (0.1, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 5.0)}
    assert [values[score] for score in (0.5, 0.7, 0.9)] == pytest.approx([-0.6, 0.0, 0.6])
    assert (values[0.6], values[0.8]) == pytest.approx((-0.3, 0.3))
    assert list(values.values()) == sorted(set(values.values()))
    flipped = ScoreTransform("percentile", leaderboard=tuple(-score for score in board.leaderboard))
    assert {score: transform_score(-score, "minimize", flipped) for score in values} == values


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_is_never_transformed(score):
    with pytest.raises(ValueError, match="not finite"):
        transform_score(score, "maximize", ScoreTransform())
