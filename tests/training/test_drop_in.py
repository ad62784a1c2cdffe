"""DurationAwareTrainer where a user had GRPOTrainer: the same call, whatever is logged, and rollouts of one run apart."""

from __future__ import annotations

import inspect
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from tests.support.tiny import tiny_args, tiny_dataset, tiny_model, tiny_tokenizer
from tests.support.training_runs import assert_same_run, letters, train, unequal, with_durations
from trl_mle import DurationAwareTrainer
from trl_mle.errors import DurationError


def test_the_constructor_has_the_parameters_of_trl_in_their_order():
    theirs = inspect.signature(GRPOTrainer.__init__).parameters
    ours = inspect.signature(DurationAwareTrainer.__init__).parameters
    assert list(ours) == [*theirs, "overlap_timing", "group_prompts"]
    assert [ours[name].default for name in theirs] == [each.default for each in theirs.values()]
    assert [ours[name].kind for name in theirs] == [each.kind for each in theirs.values()]


def test_a_trainer_made_without_init_generates_as_trl_does():
    trainer = object.__new__(DurationAwareTrainer)
    assert trainer._overlap is trainer._scored is trainer._rollout_writer is None
    trainer.model = SimpleNamespace(training=True)
    trainer.accelerator = SimpleNamespace(device=torch.device("cpu"), is_main_process=True)
    trainer.state = SimpleNamespace(global_step=0)
    trainer.rollout_func = lambda prompts, trainer: {"prompt_ids": [[1]], "completion_ids": [[2]]}
    trainer.use_vllm = False
    with pytest.raises(ValueError, match="rollout_func must return keys"):
        trainer._generate(["prompt"])


ODD_COLUMNS = {
    "short": lambda rows: ["x"],
    "long": lambda rows: ["x"] * (2 * rows),
    "action_duration": lambda rows: [1.0],
    "per_action_durations": lambda rows: [7] * rows,
    "action_tokens": lambda rows: [None],
}


@pytest.mark.parametrize(
    "columns",
    [ODD_COLUMNS, {"action_duration": lambda rows: ["soon"] * rows}, {3: lambda rows: range(rows)}],
    ids=["uneven", "text", "number"],
)
def test_none_trains_as_grpo_whatever_is_logged(tmp_path, columns):
    def reward(completions, log_extra, **kwargs):
        for column, values in columns.items():
            log_extra(column, values(len(completions)))
        return letters(completions)

    args = {"duration_weighting": "none", "max_steps": 2}
    ours = train(DurationAwareTrainer, tiny_args(tmp_path / "ours", **args), reward)
    theirs = train(GRPOTrainer, tiny_args(tmp_path / "theirs", GRPOConfig, max_steps=2), reward)
    assert_same_run(ours, theirs)
    for column in columns:
        assert list(ours[0]._logs["extra"][column]) == list(theirs[0]._logs["extra"][column])


def test_a_second_run_in_the_same_folder_keeps_its_rollouts_apart(tmp_path):
    train(DurationAwareTrainer, tiny_args(tmp_path), with_durations(unequal))
    (tmp_path / "rollouts/notes.parquet").write_text("mine")
    train(DurationAwareTrainer, tiny_args(tmp_path, max_steps=1), with_durations(unequal))
    assert {path.name for path in (tmp_path / "rollouts").iterdir()} == {"train_000000_00.parquet", "notes.parquet"}
    (earlier,) = tmp_path.glob("rollouts-*")
    assert len(list(earlier.iterdir())) == 3


def overlapping(folder, reward, callbacks=None, **changes):
    settings = {"overlap_execution": True, "duration_weighting": "none", **changes}
    trainer = DurationAwareTrainer(
        tiny_model(),
        reward,
        tiny_args(folder, **settings),
        train_dataset=tiny_dataset(),
        processing_class=tiny_tokenizer(),
        callbacks=callbacks,
    )
    trainer.train()
    return trainer


def test_overlap_warns_as_trl_does_if_every_reward_is_none(tmp_path, caplog):
    overlapping(tmp_path, lambda completions, **kwargs: [None] * len(completions), max_steps=1)
    assert "All reward functions returned None for the following kwargs" in caplog.text


def test_overlap_obeys_a_callback_that_changes_the_reward_functions(tmp_path):
    class Swap(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 1:
                trainer.reward_funcs[0] = lambda completions, **kwargs: [100.0] * len(completions)

    trainer = DurationAwareTrainer(
        tiny_model(),
        letters,
        tiny_args(tmp_path, overlap_execution=True, overlap_batches=1, duration_weighting="none", max_steps=4),
        train_dataset=tiny_dataset(),
        processing_class=tiny_tokenizer(),
        callbacks=[Swap()],
    )
    trainer.train()
    tables = (pd.read_parquet(path) for path in (tmp_path / "rollouts").glob("train_*.parquet"))
    late = pd.concat([table for table in tables if table["step"].iloc[0] == 3])
    assert set(late["letters"]) == {100.0}


def test_overlap_and_uneven_columns(tmp_path):
    def reward(completions, log_extra, **kwargs):
        log_extra("action_duration", ["soon", "later"])
        return letters(completions)

    overlapping(tmp_path / "none", reward, max_steps=1)
    with pytest.raises(DurationError, match="one completion at a time"):
        overlapping(tmp_path / "weighed", reward, max_steps=1, duration_weighting="proportional")


@pytest.mark.parametrize("error", [StopIteration, SystemExit])
def test_overlap_ends_with_an_error_that_a_future_cannot_carry(tmp_path, error):
    def reward(completions, **kwargs):
        raise error("over")

    with pytest.raises(RuntimeError, match=f"raised {error.__name__}: over"):
        overlapping(tmp_path, reward, max_steps=1)
    assert torch.is_grad_enabled()
