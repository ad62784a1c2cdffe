"""The fast-bias panel: what each quarter of the programs, ordered by duration, earned and how much of the gradient it carried."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from trl_mle.evaluation.summary import scored_rollouts
from trl_mle.outcomes import Column, RunColumn
from trl_mle.reports.html.curves import as_list, rounded
from trl_mle.reports.html.loading import ADVANTAGE, WEIGHT, LoadedRun

if TYPE_CHECKING:
    import pandas as pd

QUARTERS = 4


def duration_quarters(run: LoadedRun) -> list[dict[str, Any]]:
    """The quarters of the whole run, of its first fifth and of its last fifth.

    Each has `name`, and lists with one value per quarter, shortest durations first: `longest_s`, `reward`, `valid_share`,
    `timeout_share`, and the shares of the sum of absolute advantages before and after the weighting, `mass` and
    `weighted_mass`. A stretch with fewer programs than quarters is left out.
    """
    rollouts = run.numbers
    batches = int(rollouts[RunColumn.BATCH].max()) + 1
    fifth = max(1, batches // 5)
    number = rollouts[RunColumn.BATCH]
    stretches = {
        "whole run": rollouts,
        "first fifth": rollouts[number < fifth],
        "last fifth": rollouts[number >= batches - fifth],
    }
    return [
        {"name": name, **found} for name, frame in stretches.items() if (found := _quarters(scored_rollouts(frame)))
    ]


def _quarters(scored: pd.DataFrame) -> dict[str, list]:
    ran = scored[scored[Column.DURATION].notna()]
    if len(ran) < QUARTERS:
        return {}
    ordered = ran.iloc[np.argsort(ran[Column.DURATION].astype(float).to_numpy(), kind="stable")]
    parts = [ordered.iloc[places] for places in np.array_split(np.arange(len(ordered)), QUARTERS)]
    advantage = _advantages(ordered)
    weights = ordered[WEIGHT].astype(float).fillna(1.0).to_numpy() if WEIGHT in ordered else np.ones(len(ordered))
    return {
        "longest_s": as_list(part[Column.DURATION].astype(float).max() for part in parts),
        "reward": as_list(part[Column.REWARD].astype(float).mean() for part in parts),
        "valid_share": as_list((part[Column.KIND] == "valid").mean() for part in parts),
        "timeout_share": as_list((part[Column.KIND] == "timeout").mean() for part in parts),
        "mass": _shares(advantage),
        "weighted_mass": _shares(advantage * weights),
    }


def _advantages(rollouts: pd.DataFrame) -> np.ndarray:
    """Absolute advantages. TRL logs one number per completion; what is none counts as 0."""
    if ADVANTAGE not in rollouts:
        return np.zeros(len(rollouts))
    numbers = rollouts[ADVANTAGE].map(lambda value: float(value) if isinstance(value, (int, float)) else 0.0)
    return np.nan_to_num(np.abs(numbers.to_numpy(dtype=float)))


def _shares(mass: np.ndarray) -> list[float | None]:
    total = float(mass.sum())
    if total <= 0:
        return [None] * QUARTERS
    return [rounded(part.sum() / total) for part in np.array_split(mass, QUARTERS)]
