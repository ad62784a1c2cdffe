"""Exact expectations by enumeration: a policy that chooses when to stop, and every group of episodes that it can write."""

from __future__ import annotations

import pytest
import torch

from tests.support.stopping_policy import (
    STOP,
    StoppingPolicy,
    absent_as_zero,
    episodes,
    of_trainer,
    rewards_by_turn_then_summed,
    survivors_with_self,
    whole_episodes,
)

GROUP = 3
FACTOR = (GROUP - 1) / GROUP
"""What the mean of a whole group, the episode itself included, leaves of the gradient, as in GRPO."""


def test_the_episodes_are_all_there():
    policy = StoppingPolicy(episodes())
    assert sum(map(policy.probability, policy.written)) == pytest.approx(1.0, abs=1e-12)
    assert {len(episode.actions) for episode in policy.written} == {1, 2, 3}


@pytest.mark.parametrize("estimator", [of_trainer, whole_episodes, absent_as_zero])
def test_the_expected_gradient_is_that_of_the_expected_reward(estimator):
    policy = StoppingPolicy(episodes())
    expected = FACTOR * policy.gradient()
    assert expected.abs().max() > 0.05
    assert torch.allclose(policy.moments(estimator, GROUP)[0], expected, atol=1e-9, rtol=0)


def test_what_rewards_of_actions_leave_over_is_credited_as_well():
    """The reward of an episode need not be the sum of its turns: here it also depends on how the episode ended."""
    policy = StoppingPolicy(episodes(rest=lambda word: 0.7 * len(word) - 0.9 * (word[-1] == 2)))
    found = policy.moments(of_trainer, GROUP)[0]
    assert torch.allclose(found, FACTOR * policy.gradient(), atol=1e-9, rtol=0)
    assert not torch.allclose(found, FACTOR * StoppingPolicy(episodes()).gradient(), atol=1e-2)


def test_a_reward_of_doing_nothing_changes_no_advantage():
    """Progress may be counted from a failure of -10, so that it leaves -10 over in every episode."""
    groups = [episodes()[:4], episodes()[5:9]]
    shifted = [episodes(rest=lambda word: -10.0)[:4], episodes(rest=lambda word: -10.0)[5:9]]
    for plain, other in zip(of_trainer(groups), of_trainer(shifted), strict=True):
        for row, other_row in zip(plain, other, strict=True):
            assert other_row == pytest.approx(row, abs=1e-12)


@pytest.mark.parametrize("estimator", [survivors_with_self, rewards_by_turn_then_summed])
def test_naive_baselines_are_biased(estimator):
    """Their expectation is no multiple of the gradient, whatever the multiple."""
    policy = StoppingPolicy(episodes())
    found, true = policy.moments(estimator, GROUP)[0].flatten(), policy.gradient().flatten()
    multiple = (found @ true) / (true @ true)
    assert (found - multiple * true).norm() > 0.05 * found.norm()


def test_rewards_by_turn_then_summed_pay_for_stopping():
    """Where an episode ends takes part in how many baselines are subtracted from it."""
    policy = StoppingPolicy(episodes(earned=lambda turn, action: 1.0 if turn == 0 else 0.3))
    found, true = policy.moments(rewards_by_turn_then_summed, GROUP)[0], FACTOR * policy.gradient()
    # Each further turn earns 0.3, so that stopping is wrong. All advantages of the naive sum are 0: it does not see that.
    assert true[0, STOP] < -0.05
    assert found.abs().max() < 1e-12
    assert torch.allclose(policy.moments(of_trainer, GROUP)[0], true, atol=1e-9, rtol=0)


def test_the_variance_is_smaller_than_that_of_whole_episodes():
    policy = StoppingPolicy(episodes())
    assert policy.moments(of_trainer, GROUP)[1] < 0.95 * policy.moments(whole_episodes, GROUP)[1]
