"""The gain of a child over its parent as a part of the reward."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trl_mle.rewards.gain_part import gain_of
from trl_mle.types import Outcome

REWARD = st.floats(-1, 1)


def child(reward, kind="valid"):
    return Outcome("toy", kind, reward, 1.0)


@given(reward=REWARD, parent=st.none() | st.floats(-10, 1))
def test_a_gain_is_bounded(reward, parent):
    assert 0 <= gain_of(child(reward), parent) <= 1


@given(low=REWARD, high=REWARD, parent=st.none() | REWARD)
def test_a_better_child_never_gains_less(low, high, parent):
    low, high = sorted((low, high))
    assert gain_of(child(low), parent) <= gain_of(child(high), parent)


def test_a_worse_child_is_worth_an_equal_one():
    assert gain_of(child(0.2), 0.5) == gain_of(child(0.5), 0.5) == 0
    assert gain_of(child(0.7), 0.5) == pytest.approx(0.1)


@pytest.mark.parametrize("parent", [None, math.nan, -10.0])
def test_without_a_valid_parent_the_gain_is_the_score(parent):
    assert gain_of(child(0.5), parent) == 0.75


@pytest.mark.parametrize(("kind", "reward"), [("failure", -10.0), ("timeout", -9.5), ("fault", None)])
def test_what_is_not_valid_has_no_gain(kind, reward):
    assert gain_of(child(reward, kind), 0.5) is None
