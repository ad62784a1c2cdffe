"""Outcomes of demonstrations as a run would record them, with numbers that are plausible and not measured: nothing has to run."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from random import Random

from trl_mle.demo.programs import Choice, make_draft
from trl_mle.errors import TaskError
from trl_mle.types import Execution, Grade, Outcome, Program, TaskSpec

QUALITY: dict[str, tuple[float, float]] = {
    "constant": (0.0, 0.06),
    "linear": (0.55, 0.1),
    "neighbours": (0.45, 0.1),
    "tree": (0.6, 0.1),
    "forest": (0.65, 0.2),
    "boosting": (0.65, 0.35),
    "tuned": (0.75, 5.0),
    "stacking": (0.75, 4.0),
}
"""Family -> share of the way from the score of a constant guess to the best score, and seconds of a program."""
QUALITY_SPREAD = 0.12
"""Standard deviation of that share between programs of a family."""
SECONDS_SPREAD = 0.5
"""Standard deviation of the logarithm of the seconds between programs of a family."""
HOLD_OUT_SPREAD = 0.03
"""Relative difference between the score that a program prints and the one that it gets."""


def earlier_outcome(task: TaskSpec, choice: Choice, rng: Random) -> Outcome:
    """The valid outcome of `choice`, which has no mistake.

    Raises:
        TaskError: `train.csv` cannot be read.
    """
    draft = make_draft(task, choice)
    quality, seconds = QUALITY[choice.family.name]
    if quality:
        quality = min(0.98, max(0.02, rng.gauss(quality, QUALITY_SPREAD)))
    guess, best = _range(task)
    score = guess + quality * (best - guess)
    printed = score * math.exp(rng.gauss(0.0, HOLD_OUT_SPREAD))
    wall_s = min(seconds * math.exp(rng.gauss(0.0, SECONDS_SPREAD)), task.time_limit_s)
    return Outcome(
        task_id=task.id,
        kind="valid",
        reward=None,
        duration_s=wall_s,
        program=Program(draft.plan, draft.code()),
        execution=Execution("ok", 0, wall_s, wall_s, 0, f"hold-out score: {printed!r}\n", ""),
        public=Grade(score, True),
    )


def _range(task: TaskSpec) -> tuple[float, float]:
    """Score of a constant guess, and the best score."""
    path = task.public_dir / "train.csv"
    try:
        version = path.stat().st_mtime_ns
    except OSError as error:
        raise TaskError(f"task {task.id!r}: {path} cannot be read: {error.strerror}.") from error
    return _guess(path, version, task.target_column, task.metric), 1.0 if task.direction == "maximize" else 0.0


@lru_cache(maxsize=64)
def _guess(path: Path, version: int, target: str, metric: str) -> float:
    import numpy as np
    import pandas as pd

    y = pd.read_csv(path, usecols=[target])[target].dropna()
    if metric in ("rmse", "rmsle", "mae", "median_absolute_error", "r2"):
        values = y.to_numpy(dtype=float)
        if metric == "rmsle":
            return float(np.log1p(values.clip(min=0)).std())
        deviations = np.abs(values - np.median(values))
        return {
            "rmse": float(values.std()),
            "mae": float(deviations.mean()),
            "median_absolute_error": float(np.median(deviations)),
            "r2": 0.0,
        }[metric]
    shares = y.value_counts(normalize=True).to_numpy()
    return {
        "accuracy": float(shares.max()),
        "f1_weighted": float(shares.max()),
        "balanced_accuracy": 1 / len(shares),
        "f1_macro": 1 / len(shares),
        "matthews_corrcoef": 0.0,
        "log_loss": float(-(shares * np.log(shares)).sum()),
        "roc_auc": 0.5,
    }[metric]
