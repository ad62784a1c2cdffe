"""Curves of a run: one point per generation batch, or per bin of some batches in a long run."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from trl_mle.evaluation.summary import scored_rollouts
from trl_mle.outcomes import PARTS, Column, RunColumn
from trl_mle.reports.html.loading import LoadedRun
from trl_mle.types import MILESTONES

if TYPE_CHECKING:
    import pandas as pd

MAX_POINTS = 400
"""Points of a curve. A screen shows no more, and a phone draws no more quickly."""
MAX_TASKS = 40
"""Tasks with curves of their own, beside the curves of all tasks."""
ALL_TASKS = ""
"""Name of the curves of all tasks together."""
KINDS = ("valid", "failure", "timeout", "fault", "lost")
"""Kinds of outcomes, and completions that have none because their program was stopped."""
QUANTILES = (0.1, 0.5, 0.9)
"""Quantiles of the durations of a batch."""


def curves(run: LoadedRun) -> dict[str, dict[str, list]]:
    """Task id -> name of the curve -> values, and the same for all tasks under `ALL_TASKS`.

    Every list has one value per point; a value that is not known is `None`.
    """
    rollouts = run.numbers
    batches = int(rollouts[RunColumn.BATCH].max()) + 1
    width = math.ceil(batches / MAX_POINTS)
    binned = rollouts.assign(bin=rollouts[RunColumn.BATCH] // width)
    tasks = run.tasks
    scopes = {ALL_TASKS: binned}
    if len(tasks) > 1:
        scopes |= {task: binned[binned[Column.TASK_ID] == task] for task in tasks[:MAX_TASKS]}
    return {scope: _of_scope(frame) for scope, frame in scopes.items()}


def _of_scope(rollouts: pd.DataFrame) -> dict[str, list]:
    bins = rollouts["bin"]
    steps = rollouts[RunColumn.STEP].groupby(bins).median()
    scored = scored_rollouts(rollouts)
    valid = scored[scored[Column.KIND] == "valid"]

    def means(frame: pd.DataFrame, values: pd.Series) -> list:
        return as_list(values.astype(float).groupby(frame["bin"]).mean().reindex(steps.index))

    kinds = rollouts[Column.KIND].fillna("lost")
    milestones = scored[Column.MILESTONES].map(_names)
    seconds = rollouts[Column.DURATION].astype(float).groupby(bins)
    programs = scored[scored[Column.PROGRAM].notna()]
    distinct = programs.groupby("bin")[Column.PROGRAM].agg(lambda texts: texts.nunique() / len(texts))
    lineage = scored[scored[RunColumn.PROMPT_KIND].notna()]
    return {
        "step": as_list(steps),
        "rollouts": as_list(bins.groupby(bins).size()),
        "valid_share": means(scored, scored[Column.KIND] == "valid"),
        "reward": means(scored, scored[Column.REWARD]),
        "valid_reward": means(valid, valid[Column.REWARD]),
        "best_reward": as_list(
            valid[Column.REWARD].astype(float).groupby(valid["bin"]).max().reindex(steps.index).cummax().ffill()
        ),
        **{f"kind/{kind}": means(rollouts, kinds == kind) for kind in KINDS},
        # A completion without a part gets 0 of it, so that the parts add up to the mean reward.
        **{f"part/{part}": means(scored, scored[column].astype(float).fillna(0.0)) for part, column in PARTS.items()},
        **{
            f"milestone/{name}": means(scored, milestones.map(lambda names, m=name: m in names)) for name in MILESTONES
        },
        "seconds/mean": as_list(seconds.mean().reindex(steps.index)),
        **{f"seconds/q{round(100 * q)}": as_list(seconds.quantile(q).reindex(steps.index)) for q in QUANTILES},
        "distinct_share": as_list(distinct.astype(float).reindex(steps.index)),
        "improve_share": means(lineage, lineage[RunColumn.PROMPT_KIND] != "scratch"),
        "depth": means(lineage, lineage[RunColumn.DEPTH]),
    }


def logged_curves(run: LoadedRun) -> dict[str, dict[str, list]]:
    """Name of each number in the trainer's log -> steps (`x`) and values (`y`), thinned to `MAX_POINTS`."""
    points: dict[str, tuple[list, list]] = {}
    for entry in run.log:
        step = entry.get("step")
        if not _is_number(step):
            continue
        for name, value in entry.items():
            if name != "step" and _is_number(value):
                steps, values = points.setdefault(str(name), ([], []))
                steps.append(step)
                values.append(value)
    return {name: _thinned(*points[name]) for name in sorted(points) if len(points[name][0]) > 1}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and rounded(value) is not None


def _thinned(steps: list, values: list) -> dict[str, list]:
    stride = math.ceil(len(steps) / MAX_POINTS)
    return {"x": steps[::stride], "y": [rounded(value) for value in values[::stride]]}


def as_list(values: Iterable[Any]) -> list[float | None]:
    """Numbers as JSON has them: not-a-number is `None`, and six digits are enough for a curve."""
    return [rounded(value) for value in values]


def rounded(value: Any) -> float | None:
    """`value` with six digits, or `None` if it is missing or not finite."""
    if value is None:
        return None
    try:
        number = float(value)
    except OverflowError:  # JSON has whole numbers of any length
        return None
    return float(f"{number:.6g}") if math.isfinite(number) else None


def _names(value: Any) -> frozenset[str]:
    """Milestones of a row. A missing list is `None` or NaN."""
    return frozenset(map(str, value)) if isinstance(value, Iterable) and not isinstance(value, str) else frozenset()
