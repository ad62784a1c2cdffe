"""A run that is resumed from any of its checkpoints continues as the uninterrupted one: losses, metrics, rollouts, weights."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest
import torch
from datasets import Dataset

from tests.support.tiny import tiny_args, tiny_model, tiny_tokenizer
from tests.support.training_runs import unequal, with_durations
from trl_mle import DurationAwareTrainer
from trl_mle.scripts.run_dir import RunRecorder

TIMES = ("time", "second", "runtime")
MID_GENERATION = {
    # A generation batch of 16 completions, trained on twice in slices of 4, two slices per optimizer step: 4 steps.
    "per_device_train_batch_size": 4,
    "num_generations": 4,
    "steps_per_generation": 4,
    "num_iterations": 2,
    "gradient_accumulation_steps": 2,
    "max_steps": 14,
    "save_strategy": "steps",
    "save_steps": 1,
}


def make(folder, callbacks=(), reward=None, dataset=None, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    settings = {**MID_GENERATION, **changes}
    # Six prompts of which a batch takes four: an epoch is one generation batch, and each leaves other prompts out.
    prompts = Dataset.from_list([{"prompt": f"task {row}: "} for row in range(6)])
    return DurationAwareTrainer(
        model=tiny_model(),
        reward_funcs=reward or with_durations(unequal),
        args=tiny_args(folder, **settings),
        train_dataset=prompts if dataset is None else dataset,
        processing_class=tiny_tokenizer(),
        callbacks=[RunRecorder(folder, {}), *callbacks],
    )


def metrics(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if not any(word in name for word in TIMES)} for line in lines]


def rollouts(folder):
    files = sorted((folder / "rollouts").glob("train_*.parquet"))
    return {path.name: pd.read_parquet(path).to_dict("list") for path in files}


def weights(trainer):
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def assert_same(trainer, folder, whole, whole_folder):
    mine, theirs = weights(trainer), whole
    assert all(torch.equal(mine[name], value) for name, value in theirs.items())
    assert rollouts(folder) == rollouts(whole_folder)
    assert metrics(folder)[:-1] == metrics(whole_folder)[:-1]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    trainer = make(folder)
    trainer.train()
    return weights(trainer), folder


@pytest.mark.parametrize("step", [8, 9])
def test_every_step_of_a_generation_batch_resumes_exactly(tmp_path, whole, step):
    parameters, folder = whole
    shutil.copytree(folder, tmp_path / "cut")
    resumed = make(tmp_path / "cut")
    resumed.train(resume_from_checkpoint=str(tmp_path / f"cut/checkpoint-{step}"))
    assert_same(resumed, tmp_path / "cut", parameters, folder)


def test_a_run_that_is_resumed_where_it_has_ended_makes_no_further_step(tmp_path, whole):
    parameters, folder = whole
    for name in ("checkpoint-14", "rollouts"):
        shutil.copytree(folder / name, tmp_path / "cut" / name)
    resumed = make(tmp_path / "cut", save_strategy="no")
    resumed.train(resume_from_checkpoint=str(tmp_path / "cut/checkpoint-14"))
    assert resumed.state.global_step == 14
    assert all(torch.equal(weights(resumed)[name], value) for name, value in parameters.items())
    assert rollouts(tmp_path / "cut") == rollouts(folder)
