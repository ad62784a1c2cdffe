"""`push_to_hub` of the scripts: a Hub that refuses, or cannot be reached, is a message and costs nothing."""

from __future__ import annotations

import pytest
from huggingface_hub.errors import LocalTokenNotFoundError
from transformers import Trainer

from tests.support.tiny import tiny_args, tiny_dataset, tiny_model, tiny_tokenizer
from trl_mle import DurationAwareTrainer
from trl_mle.errors import ConfigError
from trl_mle.scripts.console import AfterTraining
from trl_mle.scripts.hub_push import push_policy, repository_errors, save_policy


def make(folder):
    args = tiny_args(folder, push_to_hub=True, hub_model_id="me/policy")
    with repository_errors(args):
        return DurationAwareTrainer(
            model=tiny_model(),
            reward_funcs=lambda completions, **kwargs: [1.0] * len(completions),
            args=args,
            train_dataset=tiny_dataset(),
            processing_class=tiny_tokenizer(),
        )


def test_a_push_that_fails_costs_neither_the_model_nor_what_follows(tmp_path, monkeypatch, capsys):
    def unreachable(self, *args, **kwargs):
        raise ConnectionError("no network")

    monkeypatch.setattr(Trainer, "init_hf_repo", lambda self: None)
    monkeypatch.setattr(Trainer, "push_to_hub", unreachable)
    trainer, after = make(tmp_path), AfterTraining()
    save_policy(trainer)
    assert (tmp_path / "model.safetensors").exists()
    push_policy(trainer, after)
    assert after.exit_code == 1
    shown = capsys.readouterr().err
    assert f"error: The push to the hub failed: no network. The model is in {tmp_path}" in shown
    assert "Traceback" not in shown

    trainer._collapse.stopped_for = "the valid share has lost 90% of its best"
    push_policy(trainer, after)
    shown = capsys.readouterr().err
    assert shown.startswith(
        "The policy is not pushed to the Hub, because it has collapsed: the valid share has lost 90%"
    )
    assert "failed" not in shown


def test_a_repository_that_cannot_be_opened_is_an_error_of_the_settings(tmp_path, monkeypatch):
    def refused(self):
        raise LocalTokenNotFoundError("Token is required")

    monkeypatch.setattr(Trainer, "init_hf_repo", refused)
    with pytest.raises(
        ConfigError, match=r"'me/policy' cannot be opened: Token is required. Log in by `hf auth login`"
    ):
        make(tmp_path)
