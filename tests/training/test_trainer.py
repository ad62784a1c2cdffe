"""DurationAwareTrainer against trl.GRPOTrainer: the same to the bit where nothing is to be weighted, exact where it is."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from datasets import load_dataset
from trl import GRPOConfig

from tests.support.sandbox_doubles import execution
from tests.support.tiny import tiny_args, tiny_dataset, tiny_model, tiny_tokenizer
from tests.support.training_runs import Recording, assert_same_run, letters, train, unequal, with_durations
from trl_mle import DurationAwareConfig, DurationAwareTrainer
from trl_mle.errors import ConfigError, DurationError
from trl_mle.rewards.records import rollout_columns
from trl_mle.training.weighted_advantages import flags, weighted
from trl_mle.types import Outcome


def test_none_needs_no_durations(tmp_path, grpo_run):
    ours = train(DurationAwareTrainer, tiny_args(tmp_path, duration_weighting="none"), letters)
    assert_same_run(ours, grpo_run)


def test_effective_advantage_is_advantage_times_duration_over_mean(tmp_path):
    trainer, _, _ = train(Recording, tiny_args(tmp_path, max_steps=1), with_durations(unequal))
    effective, plain, durations = trainer.seen
    expected = torch.tensor(plain, dtype=torch.float64) * durations / durations.mean()
    assert torch.allclose(effective.double(), expected, atol=1e-6)
    assert durations.unique().numel() > 1


def test_unscorable_rows_do_not_move_the_mean(tmp_path):
    def reward(completions, log_extra, **kwargs):
        log_extra("action_duration", [1e6, *unequal(completions)[1:]])
        return [None, *letters(completions)[1:]]

    trainer, _, _ = train(Recording, tiny_args(tmp_path, max_steps=1), reward)
    effective, plain, durations = trainer.seen
    assert effective[0] == 0
    expected = torch.tensor(plain, dtype=torch.float64) * durations / durations[1:].mean()
    assert torch.allclose(effective.double()[1:], expected[1:], atol=1e-6)


def test_advantages_per_token_are_weighted_by_row():
    weights = torch.arange(1.0, 9.0, dtype=torch.float64)
    scaled = weighted(torch.ones(4, 3), weights, first=4)  # of the second of two processes
    assert torch.equal(scaled, weights[4:].float().unsqueeze(1).expand(4, 3))


def test_what_is_no_flag_is_not_set():
    assert flags([True, 0, 1, None, torch.zeros(2), "yes"]).tolist() == [True, False, True, False, False, True]


@pytest.mark.parametrize(
    ("durations", "message"),
    [
        (lambda c: [1.0] * (len(c) - 1), "got 7 durations for 8 completions"),
        (lambda c: [1.0] * (len(c) * 2), "got 16 durations for 8 completions"),
        (lambda c: [], "got 0 durations for 8 completions"),
        (lambda c: [-1.0] * len(c), "Duration -1.0 of completion 0"),
        (lambda c: ["long"] * len(c), "Duration 'long' of completion 0"),
    ],
)
def test_wrong_durations_are_named(tmp_path, durations, message):
    with pytest.raises(DurationError, match=message):
        train(DurationAwareTrainer, tiny_args(tmp_path), with_durations(durations))


def test_no_durations_name_the_call_and_the_way_out(tmp_path):
    with pytest.raises(
        DurationError, match=r'log_extra\("action_duration", seconds\).*letters.*duration_weighting="none"'
    ):
        train(DurationAwareTrainer, tiny_args(tmp_path), letters)


@pytest.mark.parametrize("overlap", [False, True])
def test_with_the_cpu_clock_sleep_is_worth_nothing(tmp_path, overlap):
    """Programs that work for two seconds, and sleep beside it."""

    def reward(completions, log_extra, **kwargs):
        rewards = letters(completions)
        outcomes = [
            Outcome("toy", "valid", reward, wall_s, execution=execution(wall_s=wall_s, cpu_s=2.0))
            for reward, wall_s in zip(rewards, unequal(completions), strict=True)
        ]
        for column, values in rollout_columns(outcomes).items():
            log_extra(column, values)
        return rewards

    args = tiny_args(tmp_path, max_steps=1, duration_clock="cpu", overlap_execution=overlap, overlap_batches=0)
    train(DurationAwareTrainer, args, reward)
    (path,) = (tmp_path / "rollouts").glob("train_*.parquet")
    table = pd.read_parquet(path)
    assert table["action_duration"].nunique() > 1
    assert set(table["action_cpu_duration"]) == {2.0}
    assert set(table["duration_weight"]) == {1.0}


def test_a_plain_config_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"GRPOConfig.*DurationAwareConfig"):
        train(DurationAwareTrainer, tiny_args(tmp_path, GRPOConfig), letters)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"duration_weighting": "inverse"}, "'inverse'.*'none' or 'proportional'"),
        ({"duration_clip": 0.2}, "duration_clip"),
        ({"duration_floor_s": -1.0}, "duration_floor_s"),
        ({"duration_clock": "sun"}, "'sun'.*'wall' or 'cpu'"),
    ],
)
def test_impossible_settings(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        tiny_args(tmp_path, DurationAwareConfig, **changes)


def test_every_rollout_and_the_metrics_are_kept(tmp_path):
    trainer, _, _ = train(DurationAwareTrainer, tiny_args(tmp_path), with_durations(unequal))
    files = sorted(str(path) for path in (tmp_path / "rollouts").glob("train_*.parquet"))
    rows = load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    assert len(rows) == 3 * 8
    assert sorted(set(rows["step"])) == [0, 1, 2]
    for name in ("prompt", "completion", "advantage", "reward", "action_duration", "duration_weight"):
        assert name in rows.column_names
    step = [row for row in rows if row["step"] == 1]
    mean = sum(row["action_duration"] for row in step) / len(step)
    assert all(row["duration_weight"] == pytest.approx(row["action_duration"] / mean) for row in step)
    logged = next(entry for entry in trainer.state.log_history if "duration/mean" in entry)
    for name in ("mean", "max", "weight_ess", "weight_max", "unscorable_share", "reward_q1", "advantage_mass_q4"):
        assert f"duration/{name}" in logged
    assert 0 < logged["duration/weight_ess"] <= 1


def test_model_card_says_how_it_was_weighted(tmp_path):
    trainer, _, _ = train(DurationAwareTrainer, tiny_args(tmp_path, max_steps=1), with_durations(unequal))
    trainer.model_card_sections["Scores"] = "best private score: 0.5"
    trainer.create_model_card(model_name="tiny")
    card = (tmp_path / "README.md").read_text()
    assert "weighting: `proportional`" in card
    assert "best private score: 0.5" in card
    assert "2509.01684" in card
    assert "duration-aware" in card
    assert "time machine" in card  # TRL's own example


def test_a_section_of_the_model_card_can_be_replaced(tmp_path):
    trainer, _, _ = train(DurationAwareTrainer, tiny_args(tmp_path, max_steps=1), with_durations(unequal))
    trainer.model_card_sections["Quick start"] = "```python\nprint('an example of the run')\n```"
    trainer.create_model_card(model_name="tiny")
    card = (tmp_path / "README.md").read_text()
    assert "time machine" not in card
    assert re.findall(r"## Quick start\n\n```python\n(.*?)\n```", card, re.DOTALL) == [
        "print('an example of the run')"
    ]
    assert "## Training procedure" in card


def test_a_resumed_run_continues_as_the_uninterrupted_one(tmp_path):
    settings = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2, "logging_steps": 1}
    whole, _, weights = train(DurationAwareTrainer, tiny_args(tmp_path / "whole", **settings), with_durations(unequal))
    train(DurationAwareTrainer, tiny_args(tmp_path / "cut", **settings), with_durations(unequal))

    args = tiny_args(tmp_path / "cut", **settings)
    resumed = DurationAwareTrainer(
        model=tiny_model(),
        reward_funcs=with_durations(unequal),
        args=args,
        train_dataset=tiny_dataset(),
        processing_class=tiny_tokenizer(),
    )
    resumed.train(resume_from_checkpoint=str(tmp_path / "cut/checkpoint-2"))
    assert all(torch.equal(resumed.model.state_dict()[name], value) for name, value in weights.items())
    assert [entry["loss"] for entry in resumed.state.log_history if "loss" in entry] == [
        entry["loss"] for entry in whole.state.log_history if "loss" in entry
    ]
    assert len(list((tmp_path / "cut/rollouts").glob("train_*.parquet"))) == 4


def test_only_columns_of_this_batch_are_joined_to_its_rows(tmp_path):
    calls = []

    def reward(completions, log_extra, **kwargs):
        calls.append(len(completions))
        log_extra("action_duration", unequal(completions))
        if len(calls) == 1:
            log_extra("only_once", ["first"] * len(completions))
        log_extra("too_short", ["x"])
        return letters(completions)

    train(DurationAwareTrainer, tiny_args(tmp_path, max_steps=2), reward)
    first, second = (pd.read_parquet(path) for path in sorted((tmp_path / "rollouts").glob("*.parquet")))
    assert list(first["only_once"]) == ["first"] * 8
    assert second["only_once"].isna().all(), "the files of a run have the same columns"
    assert "too_short" not in first


def test_a_larger_evaluation_batch_is_fine(tmp_path):
    args = tiny_args(tmp_path, max_steps=1, eval_strategy="steps", eval_steps=1, per_device_eval_batch_size=16)
    trainer = DurationAwareTrainer(
        model=tiny_model(),
        reward_funcs=with_durations(unequal),
        args=args,
        train_dataset=tiny_dataset(),
        eval_dataset=tiny_dataset(4),
        processing_class=tiny_tokenizer(),
    )
    trainer.train()
    assert len(pd.read_parquet(tmp_path / "rollouts/eval_000001_00.parquet")) == 16
    assert any("eval_duration/mean" in entry for entry in trainer.state.log_history)


def test_a_resumed_run_drops_the_rollouts_that_it_repeats(tmp_path):
    settings = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2}
    train(DurationAwareTrainer, tiny_args(tmp_path, **settings), with_durations(unequal))
    resumed = DurationAwareTrainer(
        model=tiny_model(),
        reward_funcs=with_durations(unequal),
        args=tiny_args(tmp_path, **{**settings, "max_steps": 3}),
        train_dataset=tiny_dataset(),
        processing_class=tiny_tokenizer(),
    )
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert [path.name for path in sorted((tmp_path / "rollouts").glob("*.parquet"))] == [
        f"train_{step:06d}_00.parquet" for step in range(3)
    ]


def test_the_readmes_own_reward_function_trains(tmp_path):
    text = (Path(__file__).parents[2] / "README.md").read_text()
    (code,) = [block for block in re.findall(r"```python[^\n]*\n(.*?)```", text, re.DOTALL) if "def reward(" in block]
    setup, call = code.split("DurationAwareTrainer(", 1)
    names: dict = {}
    exec(setup, names)
    config = names["DurationAwareConfig"]
    names["DurationAwareConfig"] = lambda folder: tiny_args(tmp_path / folder, config, max_steps=1)
    names |= {"model": tiny_model(), "prompts": tiny_dataset()}
    names["processing_class"] = tiny_tokenizer()
    exec("DurationAwareTrainer(processing_class=processing_class, " + _keywords(call), names)
    assert list((tmp_path / "runs/mine/rollouts").glob("train_*.parquet"))


def _keywords(call):
    """`model, reward, Config(...), ...` as keywords, so that a tokenizer can be added for a model without a hub."""
    return call.replace("model, reward, ", "model=model, reward_funcs=reward, args=", 1)


def test_seconds_of_generation_and_of_programs_are_metrics(tmp_path):
    def slow(completions, log_extra, **kwargs):
        time.sleep(0.3)
        return with_durations(unequal)(completions, log_extra)

    trainer, *_ = train(DurationAwareTrainer, tiny_args(tmp_path), slow)
    for entry in (entry for entry in trainer.state.log_history if "step_time" in entry):
        assert entry["time/programs_s"] >= 0.3
        assert 0 < entry["time/generation_s"] < entry["step_time"] - 0.3
