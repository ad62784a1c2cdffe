"""Advantages divided by a running standard deviation of the rewards, one per value of a column of the data set."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from typing import Any

import torch

from trl_mle.errors import ConfigError
from trl_mle.training.parts import TrainerPart
from trl_mle.training.scored_batch import ScoredBatch

DECAY = 0.99
"""Weight of a group's variance after one more group with the same value of the column."""
EPSILON = 1e-4
"""Added to a standard deviation, as TRL does."""
MOST_KEYS = 4096
"""Values of the column that are remembered, those that were seen last."""


class RunningScale:
    """Standard deviation of rewards within groups, for each key apart.

    Groups whose rewards are all equal say nothing about the scale of rewards, and do not count: of a task that nearly always
    fails, the few informative groups must not be blown up.
    """

    def __init__(self) -> None:
        self._sums: dict[Hashable, tuple[float, float]] = {}

    def observe(self, key: Hashable, rewards: torch.Tensor) -> None:
        """Learn from the rewards of one group, shape `(G,)`, without those of unscorable completions."""
        values = rewards.double()
        if len(values) < 2 or bool((values == values[0]).all()):
            return
        variance = values.var().item()
        # One infinite reward would be remembered for good.
        if not math.isfinite(variance):
            return
        total, weight = self._sums.pop(key, (0.0, 0.0))
        # Put back at the end: the first key is the one that was not seen for longest.
        self._sums[key] = (total * DECAY + variance, weight * DECAY + 1.0)
        while len(self._sums) > MOST_KEYS:
            del self._sums[next(iter(self._sums))]

    def std(self, key: Hashable) -> float | None:
        """Root of the mean variance of recent groups; `None` for a key without any."""
        if key not in self._sums:
            return None
        total, weight = self._sums[key]
        return (total / weight) ** 0.5

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint, as plain values."""
        return {"sums": [[key, *sums] for key, sums in self._sums.items()]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict()`."""
        self._sums = {key: (total, weight) for key, total, weight in state["sums"]}


class RewardScale(TrainerPart):
    """Divides each advantage by the running standard deviation of its task, or of whatever `reward_scale_column` holds.

    With `scale_rewards: none` (Dr. GRPO, arXiv 2503.20783) no group is blown up for having rewards that are nearly equal, but a
    task with large rewards outweighs one with small ones. Here the tasks become comparable, and the groups of a task keep their
    differences. All processes have the same state, because all have the rewards of the global batch.

    Args:
        trainer ([`DurationAwareTrainer`]):
            The trainer that it is a part of.
        scored (callable):
            Gives the [`ScoredBatch`] of the batch that is being prepared.

    Raises:
        ConfigError: the rewards are scaled otherwise as well, or a data set has no such column.
    """

    def __init__(self, trainer: Any, scored: Callable[[], ScoredBatch]):
        trainer.args.check_reward_scale()
        check_columns(trainer, trainer.args.reward_scale_column)
        self._trainer = trainer
        self._scored = scored
        self.scale = RunningScale()

    def after_scoring(self, output: dict[str, Any], mode: str) -> dict[str, Any]:
        trainer, scored = self._trainer, self._scored()
        keys = scored.scale_keys
        assert keys is not None
        if mode == "train":
            self._learn(scored, keys)
        stds = [self.scale.std(key) for key in keys]
        known = [std for std in stds if std is not None]
        if known:
            trainer._metrics[mode]["reward_scale/std_min"].append(min(known))
            trainer._metrics[mode]["reward_scale/std_max"].append(max(known))
        advantages = output["advantages"]
        first = trainer.accelerator.process_index * len(advantages)
        # Without a standard deviation all rewards were equal so far, and the advantages are zero.
        factors = torch.tensor([1.0 if std is None else 1.0 / (std + EPSILON) for std in stds])
        local = factors[first : first + len(advantages)].to(advantages)
        return {**output, "advantages": advantages * (local if advantages.dim() == 1 else local.unsqueeze(1))}

    def _learn(self, scored: ScoredBatch, keys: Sequence[Hashable]) -> None:
        size = self._trainer.num_generations
        for first in range(0, len(keys), size):
            rows = slice(first, first + size)
            self.scale.observe(keys[first], scored.rewards[rows][scored.scorable[rows]])

    def state_dict(self) -> dict[str, Any]:
        return self.scale.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.scale.load_state_dict(state)


def scale_keys(rows: Sequence[Mapping[str, Any]], column: str) -> list[Hashable]:
    """Value of `column` for each dataset row; what is no text or number, as text.

    Raises:
        ConfigError: a row has no such column.
    """
    for row in rows:
        if column not in row:
            raise _no_column(column, row)
    return [value if isinstance(value := row[column], (str, int, float)) else str(value) for row in rows]


def check_columns(trainer: Any, column: str) -> None:
    """Raise `ConfigError` if a data set that training uses has no such column: before programs have run for nothing."""
    datasets: list[Any] = []
    if trainer.args.eval_strategy != "no":
        evaluated = trainer.eval_dataset
        datasets += evaluated.values() if isinstance(evaluated, Mapping) else [evaluated]
    if not trainer.parts.has("group_prompts"):  # which may bring columns of their own
        datasets.append(trainer.train_dataset)
    for dataset in datasets:
        # An iterable data set may not know its columns.
        names = getattr(dataset, "column_names", None)
        if names and column not in names:
            raise _no_column(column, names)


def _no_column(column: str, names: Collection[str]) -> ConfigError:
    return ConfigError(
        f"`reward_scale_column` is {column!r}, but the data set has the columns {', '.join(sorted(names))}. Name one of them."
    )
