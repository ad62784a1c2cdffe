"""Credit per turn beside what else the trainer does: overlap, flat groups, scales of tasks, evaluation."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from tests.support.tiny import tiny_args, tiny_dataset, tiny_model, tiny_tokenizer
from tests.support.turn_reference import return_advantages
from trl_mle import DurationAwareTrainer
from trl_mle.errors import ConfigError, CreditError, DurationError
from trl_mle.scripts.aggregation import choose_aggregation


def earned(ids):
    """Two actions of each completion: the first three tokens, and the rest."""
    return [float(ids[0] % 5), float(ids[-1] % 7)]


def reward(completion_ids, log_extra, **kwargs):
    log_extra("per_action_rewards", [earned(ids) for ids in completion_ids])
    log_extra("action_tokens", [[3, len(ids) - 3] for ids in completion_ids])
    return [sum(earned(ids)) for ids in completion_ids]


class Recording(DurationAwareTrainer):
    def __init__(self, *args, **kwargs):
        self.outputs = []
        super().__init__(*args, **kwargs)

    def _generate_and_score_completions(self, inputs):
        self.outputs.append(super()._generate_and_score_completions(inputs))
        return self.outputs[-1]


def make(folder, reward_func=reward, dataset=None, **changes):
    settings = {"turn_credit": "return", "duration_weighting": "none", "max_steps": 1, **changes}
    return Recording(
        model=tiny_model(),
        reward_funcs=reward_func,
        args=tiny_args(folder, **settings),
        train_dataset=dataset or tiny_dataset(),
        processing_class=tiny_tokenizer(),
        eval_dataset=tiny_dataset(4),
    )


def expected(ids, scale="group"):
    rows = [earned(row) for row in ids.tolist()]
    values = torch.tensor(return_advantages([sum(row) for row in rows], rows, 4, scale, 1.0))
    return torch.cat([values[:, :1].expand(-1, 3), values[:, 1:].expand(-1, ids.size(1) - 3)], 1)


@pytest.mark.parametrize("overlap", [False, True])
def test_actions_by_numbers_of_tokens_with_and_without_overlap(tmp_path, overlap):
    trainer = make(tmp_path, overlap_execution=overlap, overlap_batches=0)
    trainer.train()
    (output,) = trainer.outputs
    assert torch.allclose(output["advantages"], expected(output["completion_ids"]).float(), atol=1e-5)
    trainer.create_model_card()
    assert "### Credit per turn\n\n- credit: `return`" in (tmp_path / "README.md").read_text()
    table = pd.read_parquet(next((tmp_path / "rollouts").glob("train_*.parquet")))
    assert len(table["per_action_advantages"][0]) == 2
    assert "per_action_weights" not in table  # nothing has reported durations


def test_durations_of_whole_completions_weigh_all_their_actions(tmp_path):
    def timed(completion_ids, log_extra, **kwargs):
        log_extra("action_duration", [1.0 + row for row in range(len(completion_ids))])
        return reward(completion_ids, log_extra)

    trainer = make(tmp_path, timed, duration_weighting="proportional", log_completions=True)
    trainer.train()
    weights = torch.arange(1, 9) / 4.5
    found = trainer.outputs[0]["advantages"]
    assert torch.allclose(found, expected(trainer.outputs[0]["completion_ids"]).float() * weights[:, None], atol=1e-5)
    table = pd.read_parquet(next((tmp_path / "rollouts").glob("train_*.parquet")))
    assert [list(row) for row in table["per_action_weights"]] == [pytest.approx([w, w]) for w in weights.tolist()]


def test_a_group_with_equal_rewards_earned_in_different_turns_is_not_replaced(tmp_path):
    def equal(completion_ids, log_extra, **kwargs):
        firsts = [float(row % 2) for row in range(len(completion_ids))]
        log_extra("per_action_rewards", [[first, 1.0 - first] for first in firsts])
        log_extra("action_tokens", [[3, len(ids) - 3] for ids in completion_ids])
        return [1.0] * len(completion_ids)

    for credit, share in (("return", 0.0), ("episode", 1.0)):
        trainer = make(tmp_path / credit, equal, turn_credit=credit, replace_flat_groups=True)
        trainer.train()
        assert trainer.state.log_history[0]["groups/flat_share"] == share
    nothing = make(
        tmp_path / "nothing",
        lambda completion_ids, log_extra, **kwargs: (
            log_extra("per_action_rewards", [[0.5]] * len(completion_ids)) or [0.5] * len(completion_ids)
        ),
    )
    nothing.train()
    assert nothing.state.log_history[0]["groups/flat_share"] == 1.0
    assert nothing.outputs[0]["advantages"].abs().max() == 0.0


def test_the_scale_of_a_task_divides_the_advantages_of_its_actions(tmp_path):
    dataset = tiny_dataset().add_column("task", ["a"] * 8)
    trainer = make(tmp_path, dataset=dataset, scale_rewards="none", reward_scale_column="task")
    trainer.train()
    plain = expected(trainer.outputs[0]["completion_ids"], "none").float()
    ratio = trainer.outputs[0]["advantages"][plain.abs() > 1e-3] / plain[plain.abs() > 1e-3]
    assert ratio.min() == pytest.approx(ratio.max().item(), rel=1e-4) and ratio.min() != pytest.approx(1.0)


def test_evaluation_with_groups_of_one(tmp_path):
    trainer = make(tmp_path, num_generations_eval=1)
    metrics = trainer.evaluate()
    assert metrics["eval_turns/mean"] == 2.0
    assert trainer.outputs[-1]["advantages"].abs().max() == 0.0


def test_errors_of_reward_functions(tmp_path):
    def without(completions, **kwargs):
        return [1.0] * len(completions)

    def stretches(completions, log_extra, **kwargs):
        log_extra("per_action_rewards", [[1.0, 2.0]] * len(completions))
        return [3.0] * len(completions)

    def endless(completion_ids, log_extra, **kwargs):
        return [reward(completion_ids, log_extra)[0], *[float("inf")] * (len(completion_ids) - 1)]

    with pytest.raises(CreditError, match="The reward of completion 1 is inf"):
        make(tmp_path / "c", endless).train()
    with pytest.raises(CreditError, match="No reward function reported rewards of actions"):
        make(tmp_path / "a", without).train()
    with pytest.raises(DurationError, match="has 2 actions, but the policy wrote 1 stretches"):
        make(tmp_path / "b", stretches).train()


def test_settings_that_were_changed_afterwards_are_checked_again(tmp_path):
    args = tiny_args(tmp_path, turn_credit="return", duration_weighting="none")
    args.multi_objective_aggregation = "normalize_then_sum"
    with pytest.raises(ConfigError, match="`turn_credit` is 'return'"):
        Recording(
            model=tiny_model(),
            reward_funcs=reward,
            args=args,
            train_dataset=tiny_dataset(),
            processing_class=tiny_tokenizer(),
        )


def test_the_default_aggregation_of_rewards_is_one_sum(tmp_path):
    class Settings:
        reward_aggregation = None

    for credit, aggregation in (("return", "sum"), ("episode", "parts")):
        assert choose_aggregation(Settings(), tiny_args(tmp_path, turn_credit=credit)) == aggregation
