"""Durations, rewards and advantages of single samples, as tensors that travel with TRL's packed batches."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import torch

from trl_mle.training.weighting.samples import SampleBatch

COLUMNS = ("present", "seconds", "reward", "advantage", "censored")
"""Columns of the table of samples. A row that is not `present` is padding."""
NOT_REPORTED = -math.inf
"""The sample carries no such number. NaN stands for a program that never ran (`seconds`) or was not scored (`reward`)."""


class DurationCollator:
    """TRL's collator; the only change is that `sample_table`, a table of the samples in the batch, is added.

    Its shape is `(processes, S, columns)`, for at most `S` samples per process, so that TRL hands each process its own rows.

    Args:
        collator: TRL's collator, which runs on the main process.
        column (`str`): key of `sample.metrics` with the seconds.
    """

    def __init__(self, collator: Callable[[list], dict[str, Any]], column: str):
        self.collator = collator
        self.column = column
        self.passed: deque[list[list[dict[str, Any]]]] = deque()
        """Samples of every micro-batch that is on its way to the trainer, by process."""

    def __call__(self, examples: list) -> dict[str, Any]:
        (rows,) = examples
        batch = self.collator(examples)
        samples = [list(row.samples) for row in rows]
        table = torch.zeros(len(samples), max(map(len, samples)), len(COLUMNS), dtype=torch.float64)
        for process, process_samples in enumerate(samples):
            for index, sample in enumerate(process_samples):
                table[process, index] = torch.tensor(self._row(sample), dtype=torch.float64)
        self.passed.append(samples)
        return {**batch, "sample_table": table}

    def _row(self, sample: dict[str, Any]) -> tuple[float, ...]:
        metrics = sample["metrics"]
        seconds = metrics.get(self.column, NOT_REPORTED)
        reward = metrics.get("reward", NOT_REPORTED)
        return 1.0, seconds, reward, sample["advantage"], metrics.get("action_censored", math.nan)


def present_rows(batch: dict[str, Any]) -> list[list[float]]:
    """The samples of this process in a micro-batch, one row of [`COLUMNS`] per sample."""
    table = batch["sample_table"][0]
    return table[table[:, COLUMNS.index("present")] > 0].tolist()


def sample_batch(rows: Sequence[Sequence[float]]) -> SampleBatch:
    """The samples of all processes as the weighting reads them."""
    table = torch.tensor(rows, dtype=torch.float64).reshape(-1, len(COLUMNS))
    _, seconds, rewards, advantages, censored = table.unbind(1)
    return SampleBatch(
        durations=seconds,
        rewards=torch.where(torch.isneginf(rewards), math.nan, rewards),
        advantages=advantages,
        # A worker of the user's own may leave the reward out. Its samples count as scored.
        scorable=~torch.isnan(rewards),
        censored=None if torch.isnan(censored).all() else censored == 1.0,
    )
