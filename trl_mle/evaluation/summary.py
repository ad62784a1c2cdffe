"""Summary of a run: first against last fifth of it, and the best program of each task."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trl_mle.errors import ConfigError
from trl_mle.evaluation.agent_turns import AgentTurns, agent_turns
from trl_mle.evaluation.improvement import Improvement, improvement
from trl_mle.evaluation.overfitting import PublicAndPrivate, public_and_private
from trl_mle.outcomes import Column, RunColumn, metric_column
from trl_mle.types import PROGRAM_METRICS, TaskSpec
from trl_mle.whole_files import write_whole

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Stretch:
    """Means over some generation batches."""

    batches: int
    """Generation batches in this stretch."""
    rollouts: int
    """Scored completions in it: no infrastructure faults, and none that was lost to `overlap_execution`."""
    valid_share: float | None
    """Share of the scored completions with a valid submission; `None` if none was scored."""
    reward: float | None
    """Mean reward; `None` if none was scored."""
    duration_s: float | None
    """Mean execution time of the programs that ran, in seconds; `None` if none ran."""
    reward_means: Mapping[str, float | None] = field(default_factory=dict)
    """Reward function -> mean of its values; `None` if it has scored nothing. Rows without a value do not count."""
    turns: AgentTurns | None = None
    """What the turns of an agent did; `None` if the policy writes one program per completion."""


@dataclass(frozen=True)
class Best:
    """The best program of one task, chosen by public score."""

    task_id: str
    public_score: float
    """Raw score on the public part, in the metric's own unit."""
    private_score: float | None
    """Raw score on the private part, or `None` if it was not graded."""
    duration_s: float | None
    """Execution time in seconds, or `None` if it is not known."""
    step: int
    """Training step that the program was generated at."""
    program: str
    """The program as the policy wrote it."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Numbers that the program printed of itself, such as its validation score. Nobody has checked them."""


@dataclass(frozen=True)
class RunSummary:
    """What a run reached."""

    rollouts: int
    """All rows, with and without an outcome."""
    faults: int
    """Infrastructure faults."""
    lost: int
    """Completions without an outcome, because `overlap_execution` stopped their programs."""
    first: Stretch
    """The first fifth of the generation batches, at least one."""
    last: Stretch
    """The last fifth."""
    best: Mapping[str, Best]
    """Task id -> best program. A task without a valid submission is missing."""
    improvement: Improvement | None = None
    """What self-improvement prompts did; `None` without any."""
    public_and_private: Mapping[str, PublicAndPrivate] = field(default_factory=dict)
    """Task id -> public and private scores early and late in the run. A task with too few graded programs is missing."""


def summarise(
    rollouts: pd.DataFrame, tasks: Mapping[str, TaskSpec], reward_columns: Mapping[str, str] | None = None
) -> RunSummary:
    """First against last fifth of the generation batches, and the best program of each task by public score.

    Args:
        rollouts (`pandas.DataFrame`):
            From `read_rollouts`.
        tasks (mapping from task id to [`TaskSpec`]):
            The run's tasks. A task says whether a higher or a lower score is better.
        reward_columns (mapping from reward function to column, *optional*):
            The reward functions whose means are wanted, see `reward_columns`.

    Raises:
        ConfigError: the rollouts are of another reward function, or of `AsyncDurationAwareTrainer`.
    """
    needed = (Column.KIND, Column.TASK_ID)
    missing = [name for name in needed if name not in rollouts]
    if missing:
        names = ", ".join(f"`{name}`" for name in missing)
        raise ConfigError(
            f"The rollouts have no {names}. A report needs the columns that `MLEReward` logs; runs of "
            "`AsyncDurationAwareTrainer` keep only durations and rewards."
        )
    batches = int(rollouts[RunColumn.BATCH].max()) + 1
    fifth = max(1, batches // 5)
    first, last = rollouts[rollouts[RunColumn.BATCH] < fifth], rollouts[rollouts[RunColumn.BATCH] >= batches - fifth]
    return RunSummary(
        rollouts=len(rollouts),
        faults=int((rollouts[Column.KIND] == "fault").sum()),
        lost=int(rollouts[Column.KIND].isna().sum()),
        first=_stretch(first, fifth, reward_columns or {}),
        last=_stretch(last, fifth, reward_columns or {}),
        best={task_id: best for task_id, task in tasks.items() if (best := _best(rollouts, task)) is not None},
        improvement=improvement(rollouts),
        public_and_private=public_and_private(first, last, tasks) if batches > 1 else {},
    )


def _stretch(rollouts: pd.DataFrame, batches: int, reward_columns: Mapping[str, str]) -> Stretch:
    scored = scored_rollouts(rollouts)
    return Stretch(
        batches=batches,
        rollouts=len(scored),
        valid_share=_mean(scored[Column.KIND] == "valid"),
        reward=_mean(scored[Column.REWARD]),
        duration_s=_mean(scored[Column.DURATION]),
        # Not of the scored ones alone: a function of the user's own may score what an infrastructure fault has kept from running.
        reward_means={name: _mean(rollouts[column]) for name, column in reward_columns.items()},
        turns=agent_turns(rollouts),
    )


def scored_rollouts(rollouts: pd.DataFrame) -> pd.DataFrame:
    """The rows with a reward: no infrastructure faults, and no completions that were lost to `overlap_execution`."""
    return rollouts[rollouts[Column.KIND].notna() & (rollouts[Column.KIND] != "fault")]


def _mean(values: pd.Series) -> float | None:
    mean = float(values.astype(float).mean())
    return mean if math.isfinite(mean) else None


def _best(rollouts: pd.DataFrame, task: TaskSpec) -> Best | None:
    valid = rollouts[(rollouts[Column.TASK_ID] == task.id) & (rollouts[Column.KIND] == "valid")]
    scores = valid[Column.PUBLIC_SCORE].astype(float).dropna()
    if scores.empty:
        return None
    row = valid.loc[scores.idxmax() if task.direction == "maximize" else scores.idxmin()]
    return Best(
        task_id=task.id,
        public_score=float(row[Column.PUBLIC_SCORE]),
        private_score=_number(row[Column.PRIVATE_SCORE]),
        duration_s=_number(row[Column.DURATION]),
        step=int(row[RunColumn.STEP]),
        program=str(row[Column.PROGRAM]),
        metrics={
            name: value for name in PROGRAM_METRICS if (value := _number(row.get(metric_column(name)))) is not None
        },
    )


def _number(value: Any) -> float | None:
    """A number of a table, in which a missing one is `None` or NaN."""
    return None if value is None or value != value else float(value)


def write_best(run_dir: Path, best: Mapping[str, Best]) -> list[Path]:
    """Write `program.py` and `best.json` into `best/<task>/` for each task. Returns the paths of the programs."""
    paths = []
    for task_id, entry in best.items():
        folder = run_dir / "best" / task_id.replace(":", "-").replace("/", "-")
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / "program.py", entry.program)
        scores = {name: value for name, value in vars(entry).items() if name != "program"}
        write_whole(folder / "best.json", json.dumps(scores, indent=2) + "\n")
        paths.append(folder / "program.py")
    return paths
