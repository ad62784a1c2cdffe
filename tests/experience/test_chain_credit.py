"""Credit of a parent for what was made of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trl_mle.errors import ConfigError
from trl_mle.experience.chain_credit import chain_returns


@st.composite
def chains(draw):
    """Rewards, parents and validity of up to 30 programs, failures and faults among them."""
    number = draw(st.integers(0, 30))
    valid = draw(st.lists(st.booleans(), min_size=number, max_size=number))
    rewards = [draw(st.floats(-1, 1)) if good else draw(st.sampled_from([-10.0, -9.7, -9.3, None])) for good in valid]
    parents = [draw(st.none() | st.integers(0, index - 1)) if index else None for index in range(number)]
    return rewards, parents, valid


def best_of_line(rewards, parents, valid):
    """Best reward among each program and its valid descendants."""
    best = list(rewards)
    for index in range(len(best) - 1, -1, -1):
        parent = parents[index]
        if valid[index] and parent is not None and best[parent] is not None:
            best[parent] = max(best[parent], best[index])
    return best


@given(chain=chains(), discount=st.floats(0, 1))
def test_a_return_lies_between_the_reward_and_the_best_descendant(chain, discount):
    rewards, parents, valid = chain
    returns = chain_returns(rewards, parents, valid, discount)
    for value, reward, best, good in zip(returns, rewards, best_of_line(*chain), valid, strict=True):
        if reward is None:
            assert value is None
        else:
            assert reward <= value <= max(reward, best) + 1e-9
            assert good or value == reward


@given(chain=chains(), discount=st.floats(0, 1))
def test_no_failure_is_worth_as_much_as_a_valid_program(chain, discount):
    returns = chain_returns(*chain, discount)
    worst_valid = min((value for value, good in zip(returns, chain[2], strict=True) if good), default=1.0)
    failures = [value for value, good in zip(returns, chain[2], strict=True) if not good and value is not None]
    assert max(failures, default=-10.0) < worst_valid


@given(chain=chains())
def test_without_discount_there_is_no_credit(chain):
    assert chain_returns(*chain, 0) == chain[0]


def test_the_credit_of_a_chain():
    # 0 -> 1 -> 2, and a child of 0 that failed.
    rewards, parents = [0.0, 0.4, 0.8, -10.0], [None, 0, 1, 0]
    returns = chain_returns(rewards, parents, [True, True, True, False], 0.5)
    assert returns == pytest.approx([0.5 * (0.4 + 0.5 * 0.4) / 2, 0.4 + 0.5 * 0.4, 0.8, -10.0])


def test_being_shown_more_often_earns_nothing():
    one = chain_returns([0.0, 0.5], [None, 0], [True] * 2, 1.0)[0]
    many = chain_returns([0.0, *[0.5] * 9], [None, *[0] * 9], [True] * 10, 1.0)[0]
    assert one == many == 0.5


def test_a_fault_of_the_infrastructure_is_no_child():
    assert chain_returns([0.0, 0.5, None], [None, 0, 0], [True, True, False], 1.0)[0] == 0.5


def test_impossible_values_are_refused():
    with pytest.raises(ConfigError, match=r"`chain_discount` is 1\.5"):
        chain_returns([], [], [], 1.5)
    with pytest.raises(ValueError, match="does not stand before it"):
        chain_returns([0.0, 1.0], [1, None], [True, True], 0.5)
