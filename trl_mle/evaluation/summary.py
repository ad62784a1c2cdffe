"""A run directory, read back: every rollout, the best program of each task, first against last."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from trl_mle.errors import ConfigError
from trl_mle.types import METRICS, TaskSpec

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Stretch:
    """Means over some generation batches."""

    batches: int
    """Generation batches in this stretch."""
    rollouts: int
    """Scored completions in it; infrastructure faults, and those that were lost to `overlap_execution`, are left out."""
    valid_share: float | None
    """Share of the scored completions with a valid submission; `None` where none was scored."""
    reward: float | None
    """Mean reward; `None` where none was scored."""
    duration_s: float | None
    """Mean seconds of execution of those that ran; `None` where none ran."""


@dataclass(frozen=True)
class Best:
    """The best program of one task, chosen by public score."""

    task_id: str
    public_score: float
    private_score: float | None
    duration_s: float
    step: int
    program: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    """What the program's own prints revealed, such as its validation score; by its own account only."""


@dataclass(frozen=True)
class RunSummary:
    """What a run reached."""

    rollouts: int
    faults: int
    lost: int
    """Completions that training went on without: `overlap_execution` stopped their programs."""
    first: Stretch
    last: Stretch
    best: Mapping[str, Best]
    """Task id -> best program; a task without a valid submission is missing."""


def read_rollouts(run_dir: Path, mode: str = "train") -> pd.DataFrame:
    """Every rollout of the run in order, with a column `batch` that counts generation batches from 0.

    Raises:
        ConfigError: there are no rollouts in `run_dir`.
    """
    import pandas as pd

    files = sorted((run_dir / "rollouts").glob(f"{mode}_*.parquet"))
    if not files:
        raise ConfigError(f"No rollouts in {run_dir / 'rollouts'}. Give the `output_dir` of a run that has trained.")
    frames = [pd.read_parquet(file).assign(batch=batch) for batch, file in enumerate(files)]
    return pd.concat([frame.dropna(axis="columns", how="all") for frame in frames], ignore_index=True).reindex(
        columns=list(dict.fromkeys(name for frame in frames for name in frame.columns))
    )


def summarise(rollouts: pd.DataFrame, tasks: Mapping[str, TaskSpec]) -> RunSummary:
    """First against last fifth of the generation batches, and the best program of each task by public score.

    Args:
        rollouts (`pandas.DataFrame`):
            From `read_rollouts`.
        tasks (mapping from task id to [`TaskSpec`]):
            The run's tasks, which know whether a higher or a lower score is better.

    Raises:
        ConfigError: rollouts of another reward function, or of `AsyncDurationAwareTrainer`.
    """
    missing = [name for name in ("kind", "task_id", "mle_reward", "action_duration") if name not in rollouts]
    if missing:
        names = ", ".join(f"`{name}`" for name in missing)
        raise ConfigError(
            f"The rollouts have no {names}: a report needs what `MLEReward` logs, and runs of `AsyncDurationAwareTrainer` keep "
            "only durations and rewards of it."
        )
    batches = int(rollouts["batch"].max()) + 1
    fifth = max(1, batches // 5)
    return RunSummary(
        rollouts=len(rollouts),
        faults=int((rollouts["kind"] == "fault").sum()),
        lost=int(rollouts["kind"].isna().sum()),
        first=_stretch(rollouts[rollouts["batch"] < fifth], fifth),
        last=_stretch(rollouts[rollouts["batch"] >= batches - fifth], fifth),
        best={task_id: best for task_id, task in tasks.items() if (best := _best(rollouts, task)) is not None},
    )


def _stretch(rollouts: pd.DataFrame, batches: int) -> Stretch:
    scored = scored_rollouts(rollouts)
    return Stretch(
        batches=batches,
        rollouts=len(scored),
        valid_share=_mean(scored["kind"] == "valid"),
        reward=_mean(scored["mle_reward"]),
        duration_s=_mean(scored["action_duration"]),
    )


def scored_rollouts(rollouts: pd.DataFrame) -> pd.DataFrame:
    """The rows that have an outcome: no infrastructure faults, and none whose program was lost to `overlap_execution`."""
    return rollouts[rollouts["kind"].notna() & (rollouts["kind"] != "fault")]


def _mean(values: pd.Series) -> float | None:
    mean = float(values.astype(float).mean())
    return mean if math.isfinite(mean) else None


def _best(rollouts: pd.DataFrame, task: TaskSpec) -> Best | None:
    valid = rollouts[(rollouts["task_id"] == task.id) & (rollouts["kind"] == "valid")]
    if valid.empty:
        return None
    scores = valid["public_score"].astype(float)
    row = valid.loc[scores.idxmax() if task.direction == "maximize" else scores.idxmin()]
    private = row["private_score"]
    return Best(
        task_id=task.id,
        public_score=float(row["public_score"]),
        private_score=None if private is None or private != private else float(private),
        duration_s=float(row["action_duration"]),
        step=int(row["step"]),
        program=str(row["program"]),
        metrics={
            name: float(value)
            for name in METRICS
            if (value := row.get(f"metric_{name}")) is not None and value == value  # a missing number is NaN
        },
    )


def write_best(run_dir: Path, best: Mapping[str, Best]) -> list[Path]:
    """Write `best/<task>/program.py` and `best.json`; returns the programs' paths."""
    paths = []
    for task_id, entry in best.items():
        folder = run_dir / "best" / task_id.replace(":", "-").replace("/", "-")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "program.py").write_text(entry.program, encoding="utf-8")
        scores = {name: value for name, value in vars(entry).items() if name != "program"}
        (folder / "best.json").write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")
        paths.append(folder / "program.py")
    return paths
