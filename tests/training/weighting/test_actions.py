"""Several actions in one completion: each action's tokens carry the weight of its own seconds."""

from __future__ import annotations

import math

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.support.tiny import tiny_args, tiny_dataset, tiny_model, tiny_tokenizer
from trl_mle import DurationAwareTrainer, duration_weights
from trl_mle.errors import DurationError
from trl_mle.training.weighting.actions import action_of_token, read_actions, token_values


def letters(completions):
    return [float(sum(map(ord, text)) % 17) for text in completions]


SECONDS = st.lists(st.floats(0.01, 1e4), min_size=1, max_size=4)


@given(st.lists(SECONDS, min_size=1, max_size=6))
def test_the_mean_is_over_the_actions_and_single_actions_are_as_completions(rows):
    actions = read_actions(rows, [[1] * len(row) for row in rows], [len(row) for row in rows])
    weights = duration_weights(actions.seconds)
    assert weights.mean().item() == pytest.approx(1.0)
    assert actions.row_seconds().tolist() == pytest.approx([sum(row) for row in rows])
    if all(len(row) == 1 for row in rows):
        assert torch.equal(weights, duration_weights(torch.tensor([row[0] for row in rows], dtype=torch.float64)))
        assert torch.equal(actions.row_means(weights), weights)


def test_tokens_carry_the_weight_of_their_action():
    actions = read_actions([[1.0, 3.0], [2.0], None], [[2, 1], [3], None], [3, 3, 2])
    assert actions.row_seconds().tolist()[:2] == [4.0, 2.0]
    assert math.isnan(actions.row_seconds()[2])
    weights = torch.tensor([0.5, 1.5, 1.0, 0.1])
    policy = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 0, 0]]).bool()
    expected = torch.tensor([[0.5, 0.5, 1.5, 1.5], [1.0] * 4, [0.1] * 4])
    assert torch.equal(token_values(actions, weights, policy, 0), expected)
    assert torch.equal(token_values(actions, weights, policy[1:], 1), expected[1:])


def test_without_token_counts_an_action_is_a_stretch_of_policy_tokens():
    policy = torch.tensor([1, 1, 0, 0, 1, 0, 1]).bool()
    assert action_of_token(policy, 3, None, 0).tolist() == [0, 0, 0, 0, 1, 1, 2]
    with pytest.raises(DurationError, match="completion 5 has 2 actions, but the policy wrote 3 stretches"):
        action_of_token(policy, 2, None, 5)


@pytest.mark.parametrize(
    ("seconds", "tokens", "message"),
    [
        ([[1.0, -2.0]], None, "completion 0 holds -2.0"),
        ([[1.0], [2.0, "x"]], None, "completion 1 holds 'x'"),
        ([[1.0, 2.0]], [[3]], r"completion 0 is \[3\] for 2 actions and 5 tokens"),
        ([[1.0, 2.0]], [[3, 3]], r"completion 0 is \[3, 3\] for 2 actions and 5 tokens"),
    ],
)
def test_what_does_not_fit_is_named(seconds, tokens, message):
    with pytest.raises(DurationError, match=message):
        read_actions(seconds, tokens, [5] * len(seconds))


class Recording(DurationAwareTrainer):
    def _generate_and_score_completions(self, inputs):
        self.output = super()._generate_and_score_completions(inputs)
        self.plain = list(self._logs["advantages"])[-len(inputs) :]
        return self.output


def train(folder, reward, **changes):
    trainer = Recording(
        model=tiny_model(),
        reward_funcs=reward,
        args=tiny_args(folder, max_steps=1, **changes),
        train_dataset=tiny_dataset(),
        processing_class=tiny_tokenizer(),
    )
    trainer.train()
    return trainer


@pytest.mark.parametrize("overlap", [False, True])
def test_effective_advantages_of_tokens(tmp_path, overlap):
    def reward(completions, completion_ids, log_extra, **kwargs):
        log_extra("per_action_durations", [[1.0 + len(ids), 4.0 * ids[0] / 258] for ids in completion_ids])
        log_extra("action_tokens", [[3, len(ids) - 3] for ids in completion_ids])
        return letters(completions)

    trainer = train(tmp_path, reward, overlap_execution=overlap, overlap_batches=0)
    ids = trainer.output["completion_ids"]
    seconds = torch.tensor([[1.0 + 8, max(4.0 * row[0] / 258, 0.01)] for row in ids.tolist()])
    weights = seconds / seconds.mean()
    expected = torch.cat([weights[:, :1].expand(8, 3), weights[:, 1:].expand(8, 5)], 1)
    expected = expected * torch.tensor(trainer.plain)[:, None]
    assert trainer.output["advantages"].shape == (8, 8)
    assert torch.allclose(trainer.output["advantages"], expected, atol=1e-6)
    table = pd.read_parquet(next((tmp_path / "rollouts").glob("train_*.parquet")))
    assert list(table["duration_weight"]) == pytest.approx(weights.mean(1).tolist())
    assert list(table["per_action_durations"].iloc[0]) == pytest.approx(seconds[0].tolist(), rel=1e-6)


def test_one_action_a_completion_trains_as_one_duration_a_completion(tmp_path):
    def lists(completions, log_extra, **kwargs):
        log_extra("per_action_durations", [[1.0 + len(text)] for text in completions])
        return letters(completions)

    def numbers(completions, log_extra, **kwargs):
        log_extra("action_duration", [1.0 + len(text) for text in completions])
        return letters(completions)

    first, second = train(tmp_path / "a", lists), train(tmp_path / "b", numbers)
    assert all(torch.equal(value, second.model.state_dict()[name]) for name, value in first.model.state_dict().items())


@pytest.mark.parametrize("loss_type", ["grpo", "dapo", "cispo", "sapo", "luspo", "vespo"])
def test_equal_actions_train_as_grpo_whatever_the_loss(tmp_path, loss_type):
    def reward(completions, completion_ids, log_extra, **kwargs):
        log_extra("per_action_durations", [[2.0, 2.0]] * len(completions))
        log_extra("action_tokens", [[3, len(ids) - 3] for ids in completion_ids])
        return letters(completions)

    weighted = train(tmp_path / "a", reward, loss_type=loss_type)
    plain = train(tmp_path / "b", reward, loss_type=loss_type, duration_weighting="none")
    assert all(
        torch.equal(value, plain.model.state_dict()[name]) for name, value in weighted.model.state_dict().items()
    )


def test_actions_without_token_counts_are_an_error_where_there_is_one_stretch(tmp_path):
    def reward(completions, log_extra, **kwargs):
        log_extra("per_action_durations", [[1.0, 2.0]] * len(completions))
        return letters(completions)

    with pytest.raises(DurationError, match="the policy wrote 1 stretches of tokens"):
        train(tmp_path, reward)


def test_stretches_of_a_rollout_function_are_the_actions(tmp_path):
    """A rollout function marks what the environment wrote by `env_mask`: policy, environment, policy."""

    def rollout(prompts, trainer):
        rows = len(prompts)
        ids = [[5 + row, 6, 7, 8, 9 + row] for row in range(rows)]
        return {
            "prompt_ids": [[3, 4]] * rows,
            "completion_ids": ids,
            "logprobs": None,
            "env_mask": [[1, 1, 0, 1, 1]] * rows,
        }

    def reward(completions, log_extra, **kwargs):
        log_extra("per_action_durations", [[1.0, 3.0 + row] for row in range(len(completions))])
        return letters(completions)

    trainer = Recording(
        model=tiny_model(),
        reward_funcs=reward,
        args=tiny_args(tmp_path, max_steps=1),
        train_dataset=tiny_dataset(),
        processing_class=tiny_tokenizer(),
        rollout_func=rollout,
    )
    trainer.train()
    seconds = torch.tensor([[1.0, 3.0 + row] for row in range(8)])
    weights = seconds / seconds.mean()
    expected = torch.cat([weights[:, :1].expand(8, 3), weights[:, 1:].expand(8, 2)], 1)
    assert torch.allclose(trainer.output["advantages"], expected * torch.tensor(trainer.plain)[:, None], atol=1e-6)


@pytest.mark.parametrize(("overlap", "both"), [(False, False), (True, False), (False, True), (True, True)])
def test_the_old_name_of_the_column_works_with_a_warning_and_the_new_one_wins(tmp_path, overlap, both):
    def reward(completions, completion_ids, log_extra, **kwargs):
        seconds = [[1.0 + len(text)] for text in completions]
        if both:
            log_extra("per_action_durations", [row * 2 for row in seconds])
            log_extra("action_tokens", [[1, len(ids) - 1] for ids in completion_ids])
        log_extra("action_durations", seconds)
        return letters(completions)

    with pytest.warns(FutureWarning, match="per_action_durations"):
        train(tmp_path, reward, overlap_execution=overlap, overlap_batches=0)
    table = pd.read_parquet(next((tmp_path / "rollouts").glob("train_*.parquet")))
    assert [list(seconds) for seconds in table["per_action_durations"]] == [
        [1.0 + len(text)] * (1 + both) for text in table["completion"]
    ]
    assert "action_durations" not in table
