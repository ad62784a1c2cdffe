"""Weights of demonstrations by their returns, and the copies that stand for them."""

import math
import random
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from trl_mle.errors import ConfigError
from trl_mle.experience.returns import MAX_WEIGHT, effective_sample_size, resample, return_weights

REWARDS = st.lists(st.floats(-1, 1), min_size=1, max_size=60)
TEMPERATURES = st.floats(1e-3, 1e3)


@given(returns=REWARDS, temperature=TEMPERATURES)
@example(returns=[0.0, 5e-324], temperature=0.001)
@example(returns=[1.0] + [0.0] * 1000, temperature=0.1)
@example(returns=[0.0] * 10 + [1e-160], temperature=1.0)
def test_weights_have_mean_one_and_keep_the_order(returns, temperature):
    weights = return_weights(returns, ["task"] * len(returns), temperature)
    assert math.fsum(weights) / len(weights) == pytest.approx(1)
    assert min(weights) > 0
    assert max(weights) <= MAX_WEIGHT * (1 + 1e-6)
    ordered = sorted(zip(returns, weights, strict=True))
    assert all(low[1] <= high[1] for low, high in pairwise(ordered))


@given(returns=REWARDS, scale=st.floats(0.01, 10), shift=st.floats(-5, 5))
def test_weights_do_not_depend_on_a_tasks_scale(returns, scale, shift):
    moved = [value * scale + shift for value in returns]
    assume(max(returns) - min(returns) > 1e-3 or len(set(returns)) == 1 == len(set(moved)))
    one = ["task"] * len(returns)
    assert return_weights(moved, one) == pytest.approx(return_weights(returns, one), rel=1e-6)


def test_the_weight_is_the_exponential_of_the_return():
    low, high = return_weights([0.0, 1.0], ["a", "a"], temperature=2.0)  # a standard deviation of 0.5
    assert high / low == pytest.approx(math.exp(1 / (2.0 * 0.5)))


def test_groups_keep_their_shares():
    weights = return_weights([0.0, 1.0, 0.5, 0.5, 0.5], ["a", "a", "b", "b", "b"])
    assert sum(weights[:2]) == pytest.approx(2)
    assert weights[2:] == [1, 1, 1]


def test_one_outlier_is_not_the_whole_data_set():
    weights = return_weights([1.0] + [0.0] * 999, ["a"] * 1000)
    assert weights[0] == pytest.approx(MAX_WEIGHT, rel=1e-6)
    assert weights[1] == pytest.approx((1000 - MAX_WEIGHT) / 999, rel=1e-6)


@pytest.mark.parametrize("temperature", [0, -1, math.nan, math.inf])
def test_an_impossible_temperature_is_named(temperature):
    with pytest.raises(ConfigError, match="`demonstration_temperature` is"):
        return_weights([0.0], ["a"], temperature)


def test_returns_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="finite"):
        return_weights([math.nan], ["a"])


@given(
    weights=st.lists(st.floats(0, 100), min_size=1, max_size=50).filter(lambda values: sum(values) > 1e-6),
    count=st.integers(0, 200),
    seed=st.integers(0, 1000),
)
def test_a_row_is_drawn_as_often_as_its_weight_says(weights, count, seed):
    drawn = resample(weights, count, random.Random(seed))
    assert len(drawn) == count
    counts = Counter(drawn)
    for index, weight in enumerate(weights):
        assert abs(counts[index] - count * weight / sum(weights)) < 1 + 1e-6
        assert weight > 0 or not counts[index]


def test_impossible_weights_are_refused():
    for weights in ([0.0], [1.0, -0.5], [math.inf]):
        with pytest.raises(ValueError, match="weights"):
            resample(weights, 3, random.Random(0))


def test_effective_sample_size():
    assert effective_sample_size([1.0] * 8) == pytest.approx(8)
    assert effective_sample_size([8.0] + [0.0] * 7) == pytest.approx(1)
