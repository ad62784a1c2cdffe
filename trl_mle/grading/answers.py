"""`AnswerKey`: the answers of a task as arrays. An error in the answers is the task's fault (`TaskError`)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from trl_mle.errors import TaskError
from trl_mle.grading.csv_rows import read_rows
from trl_mle.grading.metrics import Metric, get_metric
from trl_mle.grading.values import Kind, canonical, kind_of
from trl_mle.types import Split, TaskSpec

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

SPLIT_COLUMN = "split"
"""Column of `answers.csv` that says `public` or `private`."""
PARTS: tuple[Split, ...] = ("public", "private")


@dataclass(frozen=True, eq=False)
class TargetAnswers:
    """The answers of one target as arrays over the N test rows of a task."""

    column: str
    """Column of `answers.csv`."""
    truth: np.ndarray
    """(N,) floats if the metric takes numbers, texts if it takes texts, class codes otherwise."""
    classes: tuple[str, ...]
    """The K labels, in the order of their codes; empty if the metric takes numbers or texts."""
    label_kind: Kind
    """What the labels are."""


@dataclass(frozen=True, eq=False)
class AnswerKey:
    """The answers of one task over its N test rows."""

    metric: Metric
    ids: tuple[str, ...]
    """(N,) ids in the order of `answers.csv`; the numbers 1..N if its rows have none."""
    id_kind: Kind
    """What the ids are. Numbers are compared by value."""
    position: dict[str, int]
    """Row of each id, by its canonical form."""
    targets: tuple[TargetAnswers, ...]
    """The answers of each target, in the order of the task's `target_columns`."""
    public: np.ndarray
    """(N,) booleans: rows of the public part."""

    def rows(self, split: Split) -> np.ndarray:
        """(N,) booleans: the rows of `split`."""
        if split == "all":
            return self.public | ~self.public
        if split not in PARTS:
            raise TaskError(f"unknown split {split!r}; choose 'public', 'private' or 'all'.")
        return self.public if split == "public" else ~self.public

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, spec: TaskSpec, name: str = "the answers") -> AnswerKey:
        """Make the key from `frame` (columns: id, targets, split) and check it against `spec`.

        Raises:
            TaskError: an answer is wrong; the message names `name`, the column and the value.
        """
        import numpy as np

        metric = get_metric(spec.metric)
        if not spec.target_columns:
            raise TaskError(f"task {spec.id!r} has no target column; name the columns of {name} to predict.")
        for column in (*filter(None, (spec.id_column,)), *spec.target_columns, SPLIT_COLUMN):
            if column not in frame.columns:
                columns = ", ".join(map(repr, frame.columns))
                raise TaskError(f"{name} has no column {column!r} (it has {columns}); add it.")
        if not len(frame):
            raise TaskError(f"{name} has no rows.")
        if spec.id_column is None:
            ids = tuple(map(str, range(1, len(frame) + 1)))
        else:
            ids = tuple(frame[spec.id_column].astype(str).str.strip())
        id_kind = kind_of(ids)
        position = {str(canonical(id_, id_kind)): row for row, id_ in enumerate(ids)}
        if len(position) < len(ids):
            twice = next(id_ for row, id_ in enumerate(ids) if position[str(canonical(id_, id_kind))] != row)
            raise TaskError(f"{name} holds the id {twice!r} more than once in column {spec.id_column!r}.")
        parts = frame[SPLIT_COLUMN].astype(str)
        for part in PARTS:
            if not (parts == part).any():
                raise TaskError(f"{name} has no row with {SPLIT_COLUMN} = {part!r}; both parts are needed.")
        if not parts.isin(PARTS).all():
            odd = parts[~parts.isin(PARTS)].iloc[0]
            raise TaskError(f"{name} holds {odd!r} in column {SPLIT_COLUMN!r}; write 'public' or 'private'.")
        public = np.asarray(parts == "public", dtype=bool)
        targets = tuple(
            _target([str(value) for value in frame[column]], column, metric, spec, name)
            for column in spec.target_columns
        )
        key = cls(metric, ids, id_kind, position, targets, public)
        for target in targets:
            if metric.needs_every_class:
                _check_classes(key, target, name)
            if metric.needs_two_values:
                _check_values(key, target, name)
        return key

    @classmethod
    def from_csv(cls, path: Path, spec: TaskSpec) -> AnswerKey:
        """Make the key from the file `path`. A file is read again only if it has changed."""
        try:
            stat = path.stat()
        except OSError as error:
            raise TaskError(f"{path} cannot be read: {error.strerror}.") from error
        return _from_csv(path, stat.st_mtime_ns, stat.st_size, spec)


@lru_cache(maxsize=64)
def _from_csv(path: Path, mtime_ns: int, size: int, spec: TaskSpec) -> AnswerKey:
    import pandas as pd

    header, *rows = read_rows(path)
    return AnswerKey.from_frame(pd.DataFrame(rows, columns=header, dtype=str), spec, str(path))


def _target(values: list[str], column: str, metric: Metric, spec: TaskSpec, name: str) -> TargetAnswers:
    import numpy as np

    if metric.predicts == "number":
        truth = np.array([_number(value, metric, column, name) for value in values])
        return TargetAnswers(column, truth, (), Kind.NUMBER)
    if metric.predicts == "text":
        return TargetAnswers(column, np.array(values, dtype=object), (), Kind.TEXT)
    classes, kind = _classes(values, column, metric, spec, name)
    code = {label: k for k, label in enumerate(classes)}
    labels = [canonical(value, kind) for value in values]
    for value, label in zip(values, labels, strict=True):
        if label not in code:
            raise TaskError(
                f"{name} holds the label {value!r} in column {column!r}, but {spec.sample_file} has no such prediction "
                f"column (it has {', '.join(classes)})."
            )
    return TargetAnswers(column, np.array([code[str(label)] for label in labels]), classes, kind)


def _check_classes(key: AnswerKey, target: TargetAnswers, name: str) -> None:
    """Check that each part of the answers has a row of each class."""
    where = "" if len(key.targets) == 1 else f" in column {target.column!r}"
    for part in PARTS:
        absent = set(range(len(target.classes))) - set(target.truth[key.rows(part)].tolist())
        if absent:
            raise TaskError(
                f"the {part} part of {name} has no row of class {target.classes[min(absent)]!r}{where}, so "
                f"{key.metric.name} is not defined there; move one there or drop the class."
            )


def _check_values(key: AnswerKey, target: TargetAnswers, name: str) -> None:
    """Check that no part of the answers holds one value alone."""
    for part in PARTS:
        values = target.truth[key.rows(part)]
        if (values == values[0]).all():
            raise TaskError(
                f"the {part} part of {name} holds {values[0]:g} alone in column {target.column!r}, so {key.metric.name} is not "
                "defined there; move rows with other values there or choose another metric."
            )


def _number(value: str, metric: Metric, column: str, name: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise TaskError(f"{name} holds {value!r} in column {column!r}; {metric.name} needs finite numbers.")
    if metric.minimum is not None and number < metric.minimum:
        raise TaskError(
            f"{name} holds {value!r} in column {column!r}; {metric.name} needs numbers of at least {metric.minimum:g}."
        )
    return number


def _classes(
    values: list[str], column: str, metric: Metric, spec: TaskSpec, name: str
) -> tuple[tuple[str, ...], Kind]:
    """The labels in the order of their codes, and what they are."""
    if metric.predicts == "probability":
        columns = spec.prediction_columns if len(spec.target_columns) == 1 else (column,)
        if len(columns) > 1:
            kind = kind_of(columns)
            classes = tuple(column.strip() for column in columns)
            # The names of the columns are the labels, so they are compared as they are written there.
            return classes, kind if all(canonical(label, kind) == label for label in classes) else Kind.TEXT
        labels = {canonical(value, Kind.INTEGER) for value in values}
        if not labels <= {"0", "1"}:
            advice = (
                f"give {spec.sample_file} one column per class"
                if len(spec.target_columns) == 1
                else "with several targets, each must be 0 or 1"
            )
            raise TaskError(
                f"{spec.sample_file} has the one prediction column {columns[0]!r}, the probability of label 1, but "
                f"{name} holds other labels than 0 and 1; {advice}."
            )
        return ("0", "1"), Kind.INTEGER
    kind = kind_of(values, distinct=False)
    labels = {canonical(value, kind) for value in values}
    if None in labels:
        raise TaskError(f"{name} holds an empty label in column {column!r}.")
    order = {Kind.INTEGER: int, Kind.NUMBER: Decimal}.get(kind, str)
    return tuple(sorted(map(str, labels), key=order)), kind
