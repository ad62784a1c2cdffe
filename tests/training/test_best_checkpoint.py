"""The best checkpoint is chosen by any metric of an evaluation, those of TRL and of reward functions included."""

from __future__ import annotations

import logging

import pytest
import torch
from safetensors.torch import load_file

from tests.support.tiny import tiny_args, tiny_dataset, tiny_model, tiny_tokenizer
from trl_mle import DurationAwareTrainer, MLEReward
from trl_mle.errors import ConfigError
from trl_mle.training.best_checkpoint import evaluated_metrics, has_metric

QUALITY = [0.0, 2.0, 1.0, 0.5]
"""Metric of the evaluations, in order: the second one is the best."""


def trained(folder, metric, quality, **changes):
    """A trainer whose evaluations, one per step, log the metric `quality`."""
    values = iter(quality)

    def reward(completions, log_extra, log_metric, **kwargs):
        log_extra("action_duration", [1.0] * len(completions))
        if not trainer.model.training:
            value = next(values)
            if value is not None:
                log_metric("quality", value)
        return [float(sum(map(ord, text)) % 17) for text in completions]

    args = tiny_args(
        folder,
        max_steps=len(quality),
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="steps",
        save_steps=1,
        save_total_limit=1,
        per_device_eval_batch_size=4,
        load_best_model_at_end=True,
        metric_for_best_model=metric,
        **changes,
    )
    trainer = DurationAwareTrainer(
        model=tiny_model(),
        reward_funcs=reward,
        args=args,
        train_dataset=tiny_dataset(),
        eval_dataset=tiny_dataset(1),
        processing_class=tiny_tokenizer(),
    )
    trainer.train()
    return trainer


def test_the_best_is_kept_and_loaded_at_the_end(tmp_path):
    trainer = trained(tmp_path, "quality", QUALITY)
    assert trainer.state.best_metric == 2.0
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-2"]
    saved = load_file(tmp_path / "checkpoint-2/model.safetensors")
    weights = trainer.model.state_dict()
    assert all(torch.equal(weights[name], saved[name]) for name in saved)


def test_an_evaluation_without_the_metric_is_not_the_best(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        trainer = trained(tmp_path, "eval_quality", [1.0, None, 0.5])
    assert trainer.state.best_global_step == 1
    assert "no value of `eval_quality`" in caplog.text


def test_a_metric_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"'eval_qualitty'.*'eval_quality'"):
        trained(tmp_path, "eval_qualitty", QUALITY)


def test_metrics_that_were_only_logged_are_found():
    history = [
        {"step": 1, "eval_reward": 9.0},
        {"step": 2, "loss": 0.1},
        {"step": 2, "eval_a_reward": 3.0},
        {"step": 2, "eval_loss": 0.0, "eval_reward": 4.0},
    ]
    metrics = evaluated_metrics({"eval_loss": 0.5}, history, 2)
    assert metrics == {"eval_a_reward": 3.0, "eval_loss": 0.5, "eval_reward": 4.0}


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_what_is_no_number_is_not_the_best(value):
    assert not has_metric("reward", {"eval_reward": value}, [])


def test_a_metric_that_training_has_logged_may_be_missing_for_now():
    assert not has_metric("programs/valid_reward", {"eval_reward": 1.0}, [{"programs/valid_reward": 0.2}])
    assert not has_metric("programs/valid_reward", {"eval_reward": 1.0}, [], {"programs/valid_reward"})
    assert has_metric(None, {}, [])


def test_a_run_goes_on_until_its_first_valid_program():
    """Nothing is valid yet, neither in training nor in the evaluation."""
    for func in (MLEReward(), *MLEReward().parts()):
        occasional = func.occasional_metrics
        assert not has_metric("programs/valid_reward", {"eval_reward": -10.0}, [{"loss": 0.0}], occasional)
