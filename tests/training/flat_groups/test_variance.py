"""Which groups teach nothing: those whose rewards are all equal."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.support.tiny import tiny_args, tiny_dataset, tiny_model, tiny_tokenizer
from trl_mle import DurationAwareTrainer
from trl_mle.training.flat_groups.variance import are_flat

NONE = math.nan
REWARDS = st.one_of(st.sampled_from([-10.0, -9.7, 0.1, 0.3, NONE]), st.floats(-10, 1))


def flat(rows, weights=(1.0,), size=2, **options):
    return are_flat(torch.tensor(rows), torch.tensor(weights), size, **options).tolist()


def test_equal_rewards_are_flat_although_their_mean_is_rounded():
    assert flat([[-9.7]] * 3 + [[-9.7], [-9.6], [-9.7]], size=3) == [True, False]


def test_fewer_than_two_rewards_are_flat():
    assert flat([[NONE], [NONE], [0.5], [NONE]]) == [True, True]


def test_the_sum_decides_if_rewards_are_added_first():
    rows = [[1.0, 2.0], [2.0, 1.0], [0.0, NONE], [0.0, 0.5]]
    assert flat(rows, (1.0, 1.0)) == [True, False]
    # Apart, the first group's rewards differ, and the second's have one score and nothing to compare it with.
    assert flat(rows, (1.0, 1.0), aggregation="normalize_then_sum") == [False, True]


def test_a_function_without_weight_does_not_count():
    assert flat([[1.0, 2.0], [1.0, 3.0]], (1.0, 0.0), aggregation="normalize_then_sum") == [True]


def test_a_group_without_tokens_is_flat():
    counted = torch.tensor([False, False, True, False])
    assert flat([[1.0], [2.0], [1.0], [2.0]], counted=counted) == [True, False]


@pytest.mark.parametrize("aggregation", ["sum_then_normalize", "normalize_then_sum"])
@given(values=st.lists(REWARDS, min_size=6, max_size=6))
def test_only_flat_groups_have_no_advantage(values, aggregation):
    rewards = torch.tensor(values).view(-1, 1)
    for group, is_flat in zip(
        rewards.view(2, 3), are_flat(rewards, torch.ones(1), 3, aggregation).tolist(), strict=True
    ):
        known = group[~group.isnan()]
        assert is_flat == (len(set(known.tolist())) < 2)


def test_ranks_decide_where_rewards_are_ranked(tmp_path):
    """The sum of the rewards is the same for all, and the ranks that are trained on differ."""

    def quality(completions, log_extra, **kwargs):
        log_extra("action_duration", [1.0] * len(completions))
        return [100.0 * place for place in range(len(completions))]

    def cost(completions, **kwargs):
        return [-100.0 * place for place in range(len(completions))]

    trainer = DurationAwareTrainer(
        model=tiny_model(),
        reward_funcs=[quality, cost],
        args=tiny_args(tmp_path, ranked_rewards=["quality"], max_steps=1),
        train_dataset=tiny_dataset(),
        processing_class=tiny_tokenizer(),
    )
    trainer.train()
    assert any(trainer._logs["advantages"])
    assert trainer.state.log_history[0]["groups/flat_share"] == 0.0
