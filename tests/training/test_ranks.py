"""Ranks within a group."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.support.tiny import tiny_args, tiny_dataset, tiny_model, tiny_tokenizer
from trl_mle import DurationAwareConfig, DurationAwareTrainer
from trl_mle.errors import ConfigError
from trl_mle.training.ranks import rank_rewards, ranks_within_groups

nan = math.nan
VALUES = st.one_of(st.just(nan), st.floats(-1e6, 1e6, width=32), st.sampled_from([0.0, 1.0]))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3, 1, 2, 4], [1 / 3, -1, -1 / 3, 1]),
        ([1, 1, 1, 5], [-1 / 3, -1 / 3, -1 / 3, 1]),
        ([nan, 1, nan, 5], [nan, -1, nan, 1]),
        ([nan, 7, nan, nan], [nan, 0, nan, nan]),
        ([nan] * 4, [nan] * 4),
        ([2, 2, 2, 2], [0, 0, 0, 0]),
    ],
)
def test_ranks(values, expected):
    ranks = ranks_within_groups(torch.tensor([float(value) for value in values]), 4)
    assert torch.allclose(ranks, torch.tensor(expected, dtype=torch.float32), equal_nan=True)


@given(st.lists(VALUES, min_size=6, max_size=6))
def test_ranks_keep_the_order_and_have_mean_0(values):
    ranks = ranks_within_groups(torch.tensor(values, dtype=torch.float32), 3).tolist()
    for first in (0, 3):
        group = [
            (value, rank) for value, rank in zip(values[first : first + 3], ranks[first : first + 3], strict=True)
        ]
        there = [(value, rank) for value, rank in group if not math.isnan(value)]
        assert all(math.isnan(rank) for value, rank in group if math.isnan(value))
        assert abs(sum(rank for _, rank in there)) < 1e-6
        assert all((a < b) == (ra < rb) and -1 <= ra <= 1 for a, ra in there for b, rb in there)


def test_columns_that_are_not_named_stay_as_they_are():
    rewards = torch.tensor([[5.0, 1.0], [6.0, nan], [7.0, 9.0], [8.0, 3.0]])
    ranked = rank_rewards(rewards, ["a", "b"], ["b"], 2)
    assert ranked[:, 0].tolist() == [5, 6, 7, 8]
    assert torch.allclose(ranked[:, 1], torch.tensor([0.0, nan, 1.0, -1.0]), equal_nan=True)
    with pytest.raises(ConfigError, match="`ranked_rewards` names 'c'; the reward functions are a, b"):
        rank_rewards(rewards, ["a", "b"], ["c"], 2)


@pytest.mark.parametrize("overlap", [False, True])
def test_training_with_parts_and_ranks(tmp_path, overlap):
    async def validity_reward(completions, log_extra, **kwargs):
        log_extra("action_duration", [1.0 + len(text) % 3 for text in completions])
        return [-10.0 if len(set(text)) % 2 else 0.0 for text in completions]

    async def score_reward(completions, **kwargs):
        return [None if len(set(text)) % 2 else float(text.count("a")) for text in completions]

    trainer = DurationAwareTrainer(
        model=tiny_model(),
        reward_funcs=[validity_reward, score_reward],
        args=tiny_args(
            tmp_path,
            DurationAwareConfig,
            multi_objective_aggregation="normalize_then_sum",
            ranked_rewards=["score_reward"],
            overlap_execution=overlap,
            max_steps=2,
        ),
        train_dataset=tiny_dataset(),
        processing_class=tiny_tokenizer(),
    )
    trainer.train()
    ranks = torch.tensor(list(trainer._logs["rewards"]["score_reward"]), dtype=torch.float32)
    there = ranks[~torch.isnan(ranks)]
    assert len(there) and there.abs().max() <= 1
    assert all(math.isfinite(value) for value in trainer._logs["advantages"])


def test_the_logged_reward_is_of_the_values_and_not_of_their_ranks(tmp_path):
    """It is what the watch for collapses and `metric_for_best_model: reward` look at. Ranks have mean 0, whatever is written."""
    means = []

    def different_letters(completions, log_extra, **kwargs):
        log_extra("action_duration", [1.0] * len(completions))
        found = [float(len(set(text))) for text in completions]
        means.append(sum(found) / len(found))
        return found

    trainer = DurationAwareTrainer(
        model=tiny_model(),
        reward_funcs=different_letters,
        args=tiny_args(tmp_path, DurationAwareConfig, ranked_rewards=["different_letters"], max_steps=2),
        train_dataset=tiny_dataset(),
        processing_class=tiny_tokenizer(),
    )
    trainer.train()
    with pytest.raises(ConfigError, match="`ranked_rewards` names 'letters'"):  # before any program has run
        DurationAwareTrainer(
            model=tiny_model(),
            reward_funcs=different_letters,
            args=tiny_args(tmp_path, DurationAwareConfig, ranked_rewards=["letters"]),
            train_dataset=tiny_dataset(),
            processing_class=tiny_tokenizer(),
        )
    logged = [entry["reward"] for entry in trainer.state.log_history if "reward" in entry]
    assert logged == pytest.approx(means) and min(logged) > 1
