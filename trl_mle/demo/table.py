"""`TableFacts`: the facts about a task's public CSV files that the generator uses."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from trl_mle.errors import TaskError
from trl_mle.types import TaskSpec

Kind = Literal["regression", "labels", "probability", "probabilities"]

KINDS: dict[str, Kind] = {
    "rmse": "regression",
    "rmsle": "regression",
    "mae": "regression",
    "median_absolute_error": "regression",
    "r2": "regression",
    "accuracy": "labels",
    "balanced_accuracy": "labels",
    "f1_macro": "labels",
    "f1_weighted": "labels",
    "matthews_corrcoef": "labels",
    "log_loss": "probability",
    "roc_auc": "probability",
}
"""Kind of prediction by metric. `probability` becomes `probabilities` if there is one column per class."""

MAX_CATEGORIES = 40
"""Most distinct values of a categorical column. A column that is not numeric and has more is free text."""


@dataclass(frozen=True)
class TableFacts:
    """The columns of a task by their use in a program."""

    kind: Kind
    """Kind of the prediction."""
    numeric: tuple[str, ...]
    """Feature columns that are numeric in both `train.csv` and `test.csv`."""
    categorical: tuple[str, ...]
    """Feature columns that are not numeric and have few distinct values."""
    text: str | None
    """The column of text to read if all features are free text; otherwise `None`."""
    train_drop: tuple[str, ...]
    """Columns of `train.csv` that are not features; the target is the last one."""
    test_drop: tuple[str, ...]
    """Columns of `test.csv` that are not features."""
    train_names: tuple[str, ...]
    """Every column of `train.csv`."""
    train_rows: int
    test_rows: int
    missing: bool
    """Whether a numeric feature has missing values."""


def read_facts(task: TaskSpec) -> TableFacts:
    """Read the facts of `task`. The files are read again only if they have changed.

    Raises:
        TaskError: the metric is unknown, a public file cannot be read, or no column can be used.
    """
    train, test = _tables(task)
    try:
        versions = train.stat().st_mtime_ns, test.stat().st_mtime_ns
    except OSError as error:
        raise TaskError(f"task {task.id!r}: {error.filename} cannot be read: {error.strerror}.") from error
    if task.metric not in KINDS:
        raise TaskError(
            f"task {task.id!r}: there are no demonstrations for the metric {task.metric!r}, only for {', '.join(KINDS)}."
        )
    kind = KINDS[task.metric]
    if kind == "probability" and len(task.prediction_columns) > 1:
        kind = "probabilities"
    return _read(train, test, versions, kind, id_of(task), task.target_column)


def id_of(task: TaskSpec) -> str:
    """The id column of `task`. Demonstrations exist only for tasks with ids and one target."""
    if task.id_column is None:
        raise TaskError(f"task {task.id!r}: there are no demonstrations for tasks whose rows have no ids.")
    return task.id_column


def _tables(task: TaskSpec) -> tuple[Path, Path]:
    """Train and test file. The programs of demonstrations read them by their usual names."""
    train, test = task.train_path, task.test_path
    names = (task.train_file, task.test_file)
    if train is None or test is None or names != ("train.csv", "test.csv") or len(task.target_columns) != 1:
        raise TaskError(
            f"task {task.id!r}: there are no demonstrations for it, only for tasks with one target, train.csv and test.csv."
        )
    return train, test


@lru_cache(maxsize=64)
def _read(train: Path, test: Path, versions: tuple[int, int], kind: Kind, id_column: str, target: str) -> TableFacts:
    import pandas as pd
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    try:
        tables = pd.read_csv(train), pd.read_csv(test)
    except (OSError, ValueError) as error:
        raise TaskError(f"{train.parent}: train.csv or test.csv cannot be read: {error}") from error
    names = [name for name in tables[0].columns if name in tables[1].columns and name != id_column]
    numeric, categorical, free = [], [], []
    for name in names:
        column = tables[0][name]
        if is_numeric_dtype(column) and is_numeric_dtype(tables[1][name]) and not is_bool_dtype(column):
            numeric.append(name)
        elif column.nunique() <= MAX_CATEGORIES:
            categorical.append(name)
        else:
            free.append(name)
    text = None
    if not numeric and not categorical:
        if not free:
            raise TaskError(f"{train.parent}: train.csv and test.csv share no column besides {id_column!r}.")
        # Of several text columns, the longest texts say most.
        text = max(free, key=lambda name: tables[0][name].astype(str).str.len().mean())
    used = {*numeric, *categorical}
    return TableFacts(
        kind=kind,
        numeric=tuple(numeric),
        categorical=tuple(categorical),
        text=text,
        train_drop=(*(name for name in tables[0].columns if name not in used and name != target), target),
        test_drop=tuple(name for name in tables[1].columns if name not in used),
        train_names=tuple(tables[0].columns),
        train_rows=len(tables[0]),
        test_rows=len(tables[1]),
        missing=any(bool(table[numeric].isna().any(axis=None)) for table in tables),
    )
