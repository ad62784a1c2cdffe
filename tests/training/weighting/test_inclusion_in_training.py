"""DurationAwareTrainer with `inverse_inclusion`: exact weights, as GRPO where nothing is lost, exact resume, metrics."""

from __future__ import annotations

import json

import pandas as pd
import pytest
import torch

from tests.support.tiny import tiny_args, tiny_dataset, tiny_model, tiny_tokenizer
from tests.support.training_runs import Recording, assert_same_run, letters, train, unequal, with_durations
from trl_mle import DurationAwareConfig, DurationAwareTrainer
from trl_mle.errors import ConfigError

LIMIT_S = 3.0


def stopped(completions, log_extra, **kwargs):
    """Programs of more than `LIMIT_S` seconds are lost half of the time, by their text: no reward."""
    needed = unequal(completions)
    lost = [
        seconds > LIMIT_S and sum(map(ord, text)) % 2 == 1 for seconds, text in zip(needed, completions, strict=True)
    ]
    log_extra("action_duration", [LIMIT_S if gone else seconds for seconds, gone in zip(needed, lost, strict=True)])
    log_extra("action_censored", lost)
    return [None if gone else reward for reward, gone in zip(letters(completions), lost, strict=True)]


def resumable(tmp_path, **changes):
    settings = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2, "duration_weighting": "inverse_inclusion"}
    return tiny_args(tmp_path, **settings, **changes)


def test_nothing_lost_trains_as_grpo_to_the_bit(tmp_path, grpo_run):
    args = tiny_args(tmp_path, duration_weighting="inverse_inclusion")
    assert_same_run(train(DurationAwareTrainer, args, with_durations(unequal)), grpo_run)


def test_effective_advantage_is_advantage_over_probability(tmp_path):
    args = tiny_args(tmp_path, max_steps=1, duration_weighting="inverse_inclusion", duration_rule="window:8/even")
    trainer, _, _ = train(Recording, args, with_durations(unequal))
    effective, plain, durations = trainer.seen
    weights = 1 / (1 - durations / 8)
    expected = torch.tensor(plain, dtype=torch.float64) * weights / weights.mean()
    assert torch.allclose(effective.double(), expected, atol=1e-6)
    assert durations.unique().numel() > 1


def test_lost_samples_are_learnt_of_and_reported(tmp_path):
    trainer, _, _ = train(
        DurationAwareTrainer, tiny_args(tmp_path, duration_weighting="inverse_inclusion", seed=3), stopped
    )
    logged = [entry for entry in trainer.state.log_history if "duration/lost_share" in entry]
    assert any(entry["duration/lost_share"] > 0 for entry in logged)
    assert all(0 <= entry[f"duration/lost_share_q{quarter}"] <= 1 for entry in logged for quarter in range(1, 5))
    assert any(entry["duration/inclusion_min"] < 1 for entry in logged)
    weights = pd.concat(pd.read_parquet(path) for path in (tmp_path / "rollouts").glob("*.parquet"))
    assert weights.loc[weights["action_duration"] > LIMIT_S, "duration_weight"].max() > 1
    trainer.create_model_card(model_name="tiny")
    assert "collection: `measured`" in (tmp_path / "README.md").read_text()


def test_the_warning_of_lost_samples_comes_once(tmp_path, caplog):
    args = tiny_args(tmp_path, duration_weighting="none", per_device_train_batch_size=32, max_steps=5)
    trainer, _, _ = train(DurationAwareTrainer, args, stopped)
    (warning,) = [message for message in caplog.messages if "lost by duration" in message]
    assert "duration_weighting: inverse_inclusion" in warning
    with pytest.warns(FutureWarning, match=r"trainer\.weighting\.inclusion"):
        assert trainer.inclusion is trainer.weighting.inclusion


def test_samples_lost_outside_the_batch_count(tmp_path):
    class Late(DurationAwareTrainer):
        def _generate_and_score_completions(self, inputs):
            self.report_lost([LIMIT_S, LIMIT_S])
            return super()._generate_and_score_completions(inputs)

    args = tiny_args(tmp_path, max_steps=1, duration_weighting="inverse_inclusion")
    trainer, _, _ = train(Late, args, with_durations(unequal))
    (entry,) = [entry for entry in trainer.state.log_history if "duration/lost_share" in entry]
    assert entry["duration/lost_share"] == pytest.approx(2 / 10)
    assert trainer.weighting.state_dict()["lost"].count(True) == 2


def test_a_resumed_run_remembers_the_durations(tmp_path):
    whole, _, weights = train(DurationAwareTrainer, resumable(tmp_path / "whole"), stopped)
    train(DurationAwareTrainer, resumable(tmp_path / "cut"), stopped)
    state = json.loads((tmp_path / "cut/checkpoint-2/trainer_state.json").read_text())
    assert len(state["stateful_callbacks"]["duration_memory"]["seconds"]) == 16
    resumed = DurationAwareTrainer(
        model=tiny_model(),
        reward_funcs=stopped,
        args=resumable(tmp_path / "cut"),
        train_dataset=tiny_dataset(),
        processing_class=tiny_tokenizer(),
    )
    resumed.train(resume_from_checkpoint=str(tmp_path / "cut/checkpoint-2"))
    assert resumed.weighting.state_dict() == whole.weighting.state_dict()
    assert all(torch.equal(resumed.model.state_dict()[name], value) for name, value in weights.items())


def test_a_run_can_be_resumed_with_another_weighting(tmp_path):
    args = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2}
    train(DurationAwareTrainer, tiny_args(tmp_path, **args), stopped)
    resumed = DurationAwareTrainer(
        model=tiny_model(),
        reward_funcs=stopped,
        args=resumable(tmp_path),
        train_dataset=tiny_dataset(),
        processing_class=tiny_tokenizer(),
    )
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert len(resumed.weighting.inclusion.memory) == 16


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"duration_rule": "first:9"}, "'first:9'.*first:96/128"),
        ({"duration_exponent": -1.0}, "duration_exponent"),
        ({"duration_min_inclusion": 0.0}, "duration_min_inclusion"),
        ({"duration_memory": 0}, "duration_memory"),
    ],
)
def test_impossible_settings(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        tiny_args(tmp_path, DurationAwareConfig, **changes)
