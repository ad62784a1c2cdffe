"""Features of `trl.GRPOTrainer` for the drop-in matrix, and how two runs with them are compared."""

from __future__ import annotations

import functools
import inspect
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from datasets import Dataset
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2ForSequenceClassification, TrainerCallback, set_seed
from trl import GRPOConfig, GRPOTrainer

from tests.support.tiny import tiny_args, tiny_dataset, tiny_model, tiny_tokenizer
from trl_mle import DurationAwareTrainer


def _texts(completions) -> list[str]:
    return [each if isinstance(each, str) else each[-1]["content"] for each in completions]


def letters(completions, **kwargs):
    return [float(sum(map(ord, text)) % 17) for text in _texts(completions)]


def some_none(completions, **kwargs):
    return [None if value % 3 == 0 else value for value in letters(completions)]


def equal_in_some_groups(completions, prompts, trainer_state, **kwargs):
    """The same reward for all completions of about every second prompt, from the second update on."""
    step = trainer_state.global_step
    equal = [step > 0 and zlib.crc32(f"{prompt}{step}".encode()) % 2 == 0 for prompt in prompts]
    return [0.7 if same else value for same, value in zip(equal, letters(completions), strict=True)]


async def later(completions, **kwargs):
    return [value / 2 for value in letters(completions)]


def logging_reward(completions, log_extra, log_metric, row, **kwargs):
    log_extra("row", [f"row {each}" for each in row])
    log_metric("rows", float(len(row)))
    return letters(completions)


def reward_model():
    set_seed(1)
    shape = tiny_model().config.to_dict() | {"num_labels": 1}
    return Qwen2ForSequenceClassification(Qwen2Config(**shape))


def saved_model(folder: Path) -> Qwen2ForCausalLM:
    """The tiny model from a folder, because TRL loads the reference model from where the policy was."""
    if not folder.exists():
        tiny_model().save_pretrained(folder)
    return Qwen2ForCausalLM.from_pretrained(folder)


def reporting(reward: Callable, seconds: Callable[[list[str]], list[float]]) -> Callable:
    """`reward`, which also reports durations."""
    if inspect.iscoroutinefunction(reward):

        @functools.wraps(reward)
        async def reports(completions, log_extra, **kwargs):
            log_extra("action_duration", seconds(_texts(completions)))
            return await reward(completions, log_extra=log_extra, **kwargs)
    else:

        @functools.wraps(reward)
        def reports(completions, log_extra, **kwargs):
            log_extra("action_duration", seconds(_texts(completions)))
            return reward(completions, log_extra=log_extra, **kwargs)

    return reports


def unequal(texts):
    return [0.5 + sum(map(ord, text)) % 5 for text in texts]


@dataclass(frozen=True)
class Feature:
    """Settings of `GRPOConfig`, parameters of `GRPOTrainer` (each made anew for every run), and reward functions."""

    settings: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, Callable[[], Any]] = field(default_factory=dict)
    rewards: tuple[Callable, ...] = ()
    """Replace the one reward function of a run. A function that is called `reward_model` makes a reward model."""
    overlap: bool = True
    """Whether `overlap_execution` knows it."""


def settings(overlap: bool = True, **changes) -> Feature:
    return Feature(changes, overlap=overlap)


def join(features: list[Feature]) -> Feature:
    """All features in one."""
    return Feature(
        {name: value for each in features for name, value in each.settings.items()},
        {name: value for each in features for name, value in each.parameters.items()},
        tuple(reward for each in features for reward in each.rewards),
        all(each.overlap for each in features),
    )


class Events(TrainerCallback):
    """Keeps the names of all events."""

    def __init__(self):
        self.names: list[str] = []

    def __getattribute__(self, name):
        if name.startswith("on_"):
            self.names.append(name)
        return super().__getattribute__(name)


@dataclass
class Run:
    trainer: GRPOTrainer
    events: list[str]
    folder: Path

    @property
    def parameters(self) -> dict[str, torch.Tensor]:
        return self.trainer.model.state_dict()

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """All that was logged, except seconds."""
        clocks = ("time", "_per_second")
        return [
            {name: value for name, value in entry.items() if not name.endswith(clocks)}
            for entry in self.trainer.state.log_history
        ]

    @property
    def table(self) -> dict[str, list]:
        """TRL's log of completions, a column each."""
        logs = self.trainer._logs
        columns = {name: logs[name] for name in ("prompt", "completion", "advantages")}
        return {name: list(values) for name, values in {**columns, **logs["rewards"], **logs["extra"]}.items()}

    @property
    def shown(self) -> list[pd.DataFrame]:
        """The files of `log_completions`."""
        return [pd.read_parquet(path) for path in sorted(self.folder.glob("completions/*.parquet"))]


def run(folder: Path, feature: Feature, seconds: Callable | None = None, **ours) -> Run:
    """Train for two updates with `GRPOTrainer`, or with the settings `ours` of `DurationAwareTrainer`."""
    rewards = [reward() if reward is reward_model else reward for reward in feature.rewards or (letters,)]
    if seconds is not None:
        place = next(index for index, reward in enumerate(rewards) if not isinstance(reward, torch.nn.Module))
        rewards[place] = reporting(rewards[place], seconds)
    parameters: dict[str, Any] = {
        "model": lambda: saved_model(folder.parent / "policy"),
        "processing_class": tiny_tokenizer,
        "train_dataset": lambda: tiny_dataset().add_column("row", list(range(8))),
        **feature.parameters,
    }
    made = {name: make() for name, make in parameters.items()}
    events = Events()
    config = {"config_class": GRPOConfig} if not ours else {}
    args = tiny_args(folder, **config, **{"max_steps": 2, **feature.settings, **ours})
    trainer = (DurationAwareTrainer if ours else GRPOTrainer)(
        reward_funcs=rewards, args=args, callbacks=[events, *made.pop("callbacks", [])], **made
    )
    trainer.train()
    return Run(trainer, events.names, folder)


def same_parameters(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def assert_same(ours: Run, theirs: Run) -> None:
    """The same parameters to the bit, events, metrics and completions; ours may have metrics and columns of its own."""
    assert same_parameters(ours.parameters, theirs.parameters)
    assert ours.events == theirs.events
    assert len(ours.metrics) == len(theirs.metrics)
    for mine, other in zip(ours.metrics, theirs.metrics, strict=True):
        # repr: a NaN is equal to a NaN.
        assert {name: repr(mine.get(name)) for name in other} == {name: repr(value) for name, value in other.items()}
    for name, column in theirs.table.items():
        assert repr(ours.table[name]) == repr(column), name
    assert len(ours.shown) == len(theirs.shown)
    for mine, other in zip(ours.shown, theirs.shown, strict=True):
        pd.testing.assert_frame_equal(mine[list(other)], other)


def assert_finite(ended: Run) -> None:
    """The run has done its updates, and all its parameters and losses are finite."""
    assert ended.trainer.state.global_step == ended.trainer.args.max_steps
    assert all(value.isfinite().all() for value in ended.parameters.values())
    losses = [entry["loss"] for entry in ended.metrics if "loss" in entry]
    assert losses and all(map(math.isfinite, losses))


def conversations() -> Dataset:
    return Dataset.from_list(
        [{"prompt": [{"role": "user", "content": f"task {row}: "}], "row": row} for row in range(8)]
    )


def chat_tokenizer():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{% if loud %}!{% endif %}{% for m in messages %}{{ m.content }}\n{% endfor %}"
    return tokenizer
