"""Metrics of self-improvement in one batch: how children compare with their parents. Pure functions of rollout columns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from trl_mle.comparison import is_better, prompt_kind_of, says_something
from trl_mle.outcomes import Column, RunColumn

COLUMNS = (
    Column.KIND,
    Column.REWARD_SCORE,
    Column.PROGRAM,
    RunColumn.PROMPT_KIND,
    RunColumn.PARENT,
    RunColumn.PARENT_SCORE,
    RunColumn.DEPTH,
)
"""Columns of rollouts that are looked at."""


@dataclass(frozen=True)
class Child:
    """A scored rollout, with what its prompt asked for."""

    prompt_kind: str
    is_valid: bool
    score: float | None
    """Public score on the scale of the reward, in [-1, 1]; `None` unless the submission is valid."""
    parent_score: float | None
    """That of the parent; `None` without a parent, and for a parent that failed."""
    parent_id: int | None
    depth: int
    """Parents in its lineage."""
    program: str | None

    @property
    def is_better(self) -> bool | None:
        """Whether it is better than its valid parent; `None` without one."""
        return is_better("valid" if self.is_valid else "failure", self.score, self.parent_score)

    @property
    def gain(self) -> float | None:
        """How much better it is than its parent, for a valid child of a valid parent."""
        return None if self.score is None or self.parent_score is None else self.score - self.parent_score


def children(columns: Mapping[str, Sequence[Any]]) -> list[Child]:
    """The scored rollouts of a batch. Infrastructure faults and lost completions say nothing about a prompt."""
    if Column.KIND not in columns or RunColumn.PROMPT_KIND not in columns:
        return []
    found = []
    for place, kind in enumerate(columns[Column.KIND]):
        row: dict[str, Any] = {name: known(columns[name][place]) if name in columns else None for name in COLUMNS}
        kind = known(kind)
        if not says_something(kind):
            continue
        found.append(
            Child(
                prompt_kind=prompt_kind_of(row[RunColumn.PROMPT_KIND], row[RunColumn.PARENT_SCORE]),
                is_valid=kind == "valid",
                score=row[Column.REWARD_SCORE] if kind == "valid" else None,
                parent_score=row[RunColumn.PARENT_SCORE],
                parent_id=None if row[RunColumn.PARENT] is None else int(row[RunColumn.PARENT]),
                depth=int(row[RunColumn.DEPTH] or 0),
                program=row[Column.PROGRAM],
            )
        )
    return found


def known(value: Any) -> Any:
    """`value`, or `None` if it is not-a-number: a missing value in a table, and TRL's reward of a completion without one."""
    return None if isinstance(value, float) and math.isnan(value) else value


def lineage_metrics(batch: Sequence[Child]) -> dict[str, float]:
    """Metrics of a batch under `improve/`. One that nothing is known about is left out."""
    if not batch:
        return {}
    kinds = sorted({child.prompt_kind for child in batch})
    metrics = {
        "improve/prompt_share": fmean(child.prompt_kind == "improve" for child in batch),
        "improve/lineage_depth_mean": fmean(child.depth for child in batch),
        "improve/lineage_depth_max": float(max(child.depth for child in batch)),
    }
    for kind in kinds:
        of_kind = [child for child in batch if child.prompt_kind == kind]
        metrics[f"improve/valid_share/{kind}"] = fmean(child.is_valid for child in of_kind)
        scores = [child.score for child in of_kind if child.score is not None]
        if scores:
            metrics[f"improve/score/{kind}"] = fmean(scores)
    better_share, gain = compared(batch)
    if better_share is not None:
        metrics["improve/better_share"] = better_share
    if gain is not None:
        metrics["improve/gain_of_valid"] = gain
    return metrics


def compared(batch: Sequence[Child]) -> tuple[float | None, float | None]:
    """Share of the children of valid parents that are better than those, and the mean gain of the valid ones of these children.

    A child that fails is none that is better: the share is over all children. `None` where there is nothing to compare.
    """
    better = [child.is_better for child in batch if child.is_better is not None]
    gains = [child.gain for child in batch if child.gain is not None]
    return fmean(better) if better else None, fmean(gains) if gains else None
