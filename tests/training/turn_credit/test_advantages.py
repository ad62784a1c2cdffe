"""Properties of the advantages of actions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from trl.trainer.utils import nanstd

from tests.support.turn_reference import return_advantages
from trl_mle.training.turn_credit.advantages import turn_advantages

REWARD = st.integers(-40, 40).map(lambda number: number / 4)
EARNED = st.lists(REWARD, min_size=1, max_size=4)
SCALES = st.sampled_from(["group", "batch", "none"])


def advantages(rewards, earned, group, **settings):
    """`rewards` with `None` for a rollout without one."""
    rows = torch.tensor([row for row, values in enumerate(earned) for _ in values])
    values = torch.tensor([value for values in earned for value in values], dtype=torch.float64)
    known = torch.tensor([reward is not None for reward in rewards])
    numbers = torch.tensor([reward or 0.0 for reward in rewards], dtype=torch.float64)
    found = turn_advantages(numbers, known, values, rows, group, **settings)
    flat = iter(found.per_action.tolist())
    return [[next(flat) for _ in values] for values in earned], found.flat.tolist()


@st.composite
def batches(draw, groups=2, group=4):
    rows = groups * group
    earned = draw(st.lists(EARNED, min_size=rows, max_size=rows))
    rest = draw(st.lists(st.sampled_from([-10.0, 0.0, 0.5]), min_size=rows, max_size=rows))
    missing = draw(st.sets(st.integers(0, rows - 1), max_size=2))
    rewards = [None if r in missing else sum(earned[r]) + rest[r] for r in range(rows)]
    return rewards, earned


@settings(max_examples=40)
@given(batches(), SCALES, st.sampled_from([1.0, 0.9, 0.5]))
def test_they_equal_a_second_computation(batch, scale, discount):
    rewards, earned = batch
    expected = return_advantages(rewards, earned, 4, scale, discount)
    found, flat = advantages(rewards, earned, 4, scale=scale, discount=discount)
    for row, (own, other) in enumerate(zip(found, expected, strict=True)):
        # In a flat group the second computation has rounding errors, which its divisor blows up.
        assert own == pytest.approx([0.0] * len(own) if flat[row // 4] else other, abs=1e-6)


@settings(max_examples=40)
@given(st.lists(REWARD, min_size=8, max_size=8), st.sets(st.integers(0, 7), max_size=3), SCALES)
def test_one_action_a_rollout_is_as_in_trl(values, missing, scale):
    rewards = [None if row in missing else value for row, value in enumerate(values)]
    found, flat = advantages(rewards, [[value] for value in values], 4, scale=scale)
    numbers = torch.tensor([float("nan") if reward is None else reward for reward in rewards], dtype=torch.float64)
    groups = numbers.view(-1, 4)
    plain = (groups - groups.nanmean(dim=1, keepdim=True)).flatten()
    if scale != "none":
        std = nanstd(groups, dim=1).repeat_interleave(4) if scale == "group" else nanstd(numbers)
        plain = plain / (std + 1e-4)
    # TRL computes in single precision.
    assert [value for (value,) in found] == pytest.approx(torch.nan_to_num(plain).tolist(), abs=1e-6, rel=1e-6)
    for group, is_flat in enumerate(flat):
        known = [reward for reward in rewards[4 * group : 4 * group + 4] if reward is not None]
        assert is_flat == (len(set(known)) < 2)


@settings(max_examples=40)
@given(batches(groups=1))
def test_first_actions_have_the_advantage_of_the_episode(batch):
    rewards, earned = batch
    found, _ = advantages(rewards, earned, 4, scale="none")
    known = [reward for reward in rewards if reward is not None]
    for reward, own in zip(rewards, found, strict=True):
        expected = 0.0 if reward is None else reward - sum(known) / len(known)
        assert own[0] == pytest.approx(expected, abs=1e-9)


@settings(max_examples=40)
@given(batches(), SCALES, st.randoms(use_true_random=False))
def test_the_order_within_a_group_does_not_matter(batch, scale, random):
    rewards, earned = batch
    order = [*random.sample(range(4), 4), *random.sample(range(4, 8), 4)]
    found, flat = advantages(rewards, earned, 4, scale=scale)
    moved, moved_flat = advantages([rewards[r] for r in order], [earned[r] for r in order], 4, scale=scale)
    assert flat == moved_flat
    for place, row in enumerate(order):
        assert moved[place] == pytest.approx(found[row], abs=1e-9)


@settings(max_examples=40)
@given(batches(groups=1), st.integers(0, 3), EARNED)
def test_what_a_rollout_earns_does_not_move_its_own_baseline(batch, row, other):
    """The baseline of an action must not depend on the action: only the return of the row itself may."""
    rewards, earned = [sum(values) for values in batch[1]], batch[1]
    found, _ = advantages(rewards, earned, 4, scale="none")
    changed = [*earned[:row], (other + [0.0] * 4)[: len(earned[row])], *earned[row + 1 :]]
    moved, _ = advantages([sum(values) for values in changed], changed, 4, scale="none")
    for turn in range(len(earned[row])):
        gained = sum(changed[row][turn:]) - sum(earned[row][turn:])
        assert moved[row][turn] - found[row][turn] == pytest.approx(gained * 3 / 4, abs=1e-9)


@settings(max_examples=40)
@given(batches(), st.sampled_from(["group", "batch"]))
def test_they_are_bounded(batch, scale):
    """Equal rewards, earned in different turns, are not divided by a standard deviation of nearly 0."""
    found, _ = advantages(*batch, 4, scale=scale)
    assert max(abs(value) for row in found for value in row) < sum(map(len, batch[1])) ** 0.5 + 1e-6


def test_episodes_with_equal_rewards_that_were_earned_apart_are_compared():
    """Both end at 1. The one that repaired its failure at turn 2 did better there than the one that had nothing to repair."""
    found, flat = advantages([1.0, 1.0], [[0.0, 1.0], [1.0, 0.0]], 2)
    assert flat == [False]
    assert found[0][0] == found[1][0] == pytest.approx(0.0)
    assert found[0][1] == -found[1][1] == pytest.approx(1.0, abs=0.3)


def test_rounding_of_single_precision_is_no_difference():
    rewards = torch.tensor([0.1 + 0.2, 0.3, -9.7 + 10.0, 0.3], dtype=torch.float32)
    found = turn_advantages(
        rewards,
        torch.ones(4, dtype=torch.bool),
        torch.tensor([0.1, 0.2, 0.3, 10.0, 0.3]),
        torch.tensor([0, 0, 1, 2, 3]),
        4,
    )
    assert not found.flat[0]  # 10 was earned by the third, and -9.7 is what its episode is charged with
    same = torch.tensor([0.1, 0.1, 0.1])
    found = turn_advantages(
        same.float() * 3, torch.ones(3, dtype=torch.bool), same.double(), torch.arange(3), 3, scale="group"
    )
    assert found.flat[0] and found.per_action.tolist() == [0.0] * 3


@pytest.mark.parametrize("group", [1, 2])
def test_a_rollout_alone_teaches_nothing(group):
    rewards = [3.0] if group == 1 else [3.0, None]
    found, flat = advantages(rewards, [[1.0, 2.0]] * group, group)
    assert found == [[0.0, 0.0]] * group and flat == [True]
