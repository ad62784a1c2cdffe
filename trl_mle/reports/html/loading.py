"""What the HTML report reads of a run, which may be going on: rollouts, settings, log, experience store and evaluation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trl_mle.errors import ConfigError
from trl_mle.evaluation.run_files import read_log, read_settings
from trl_mle.outcomes import Column, RunColumn, metric_column, read_rollouts
from trl_mle.types import PROGRAM_METRICS

if TYPE_CHECKING:
    import pandas as pd


COMPLETION = "completion"
TURNS = "turns"
"""Column of agents' rollouts: JSON of the turns of an episode."""
ADVANTAGE = "advantage"
"""Column that every rollout of a trainer has: the advantage before it is weighted."""
WEIGHT = "duration_weight"
"""Column of runs that are weighted by duration."""
TEXT_COLUMNS = (
    Column.PROGRAM,
    Column.INSTRUMENTED_PROGRAM,
    Column.PLAN,
    Column.STDOUT,
    Column.STDERR,
    COMPLETION,
    TURNS,
)
READ_COLUMNS = frozenset({*Column, *RunColumn, *TEXT_COLUMNS, ADVANTAGE, WEIGHT, *map(metric_column, PROGRAM_METRICS)})


@dataclass(frozen=True)
class LoadedRun:
    """One run, as far as it has come."""

    name: str
    """Shortest end of its path that no other run of the report has."""
    folder: Path
    rollouts: pd.DataFrame
    """Rows of `read_rollouts`, with every column of `Column` and `RunColumn`, numbered from 0."""
    settings: dict[str, Any]
    """Sections of `config.yaml`; empty without a readable one."""
    log: list[dict[str, Any]]
    """Entries of the trainer's log."""

    @cached_property
    def numbers(self) -> pd.DataFrame:
        """`rollouts` without texts, which are most of the memory. `Column.PROGRAM` is a number per distinct program."""
        codes, _ = self.rollouts[Column.PROGRAM].factorize()
        texts = [column for column in TEXT_COLUMNS if column in self.rollouts]
        return self.rollouts.drop(columns=texts).assign(
            **{Column.PROGRAM: [None if code < 0 else code for code in codes]}
        )

    @property
    def tasks(self) -> list[str]:
        """Ids of the tasks with rollouts, in the order of their first one."""
        return [str(task) for task in self.rollouts[Column.TASK_ID].dropna().unique()]


def load_runs(folders: Sequence[Path]) -> list[LoadedRun]:
    """Read the runs in `folders`.

    Raises:
        ConfigError: no folder, one that is given twice, or one without rollouts.
    """
    resolved = [Path(folder).resolve() for folder in folders]
    if not resolved:
        raise ConfigError("No run is given. Name the `output_dir` of at least one.")
    if len(set(resolved)) < len(resolved):
        raise ConfigError("A run is given twice. Name each `output_dir` once.")
    return [_load(name, folder) for name, folder in zip(_names(resolved), resolved, strict=True)]


def _load(name: str, folder: Path) -> LoadedRun:
    return LoadedRun(name, folder, _complete(read_rollouts(folder)), read_settings(folder), list(read_log(folder)))


def _complete(rollouts: pd.DataFrame) -> pd.DataFrame:
    """`rollouts` with every column that the report reads: those that a run does not keep hold missing values."""
    wanted = (*Column, *RunColumn)
    missing = {
        str(column): math.nan if getattr(column, "kind", float) in (int, float) else None
        for column in wanted
        if column not in rollouts
    }
    kept = [column for column in rollouts if column in READ_COLUMNS]
    return rollouts[kept].assign(**missing).reset_index(drop=True)


def _names(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that tell all of them apart."""
    longest = max(len(folder.parts) for folder in folders)
    for length in range(1, longest + 1):
        names = ["/".join(folder.parts[-length:]) for folder in folders]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]
