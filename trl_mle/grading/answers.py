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
class AnswerKey:
    """The answers of one task as arrays over its N test rows."""

    metric: Metric
    ids: tuple[str, ...]
    """(N,) ids in the order of `answers.csv`; the numbers 1..N if its rows have none."""
    id_kind: Kind
    """What the ids are. Numbers are compared by value."""
    position: dict[str, int]
    """Row of each id, by its canonical form."""
    truth: np.ndarray
    """(N,) floats if the metric takes numbers, class codes otherwise."""
    classes: tuple[str, ...]
    """The K labels, in the order of their codes; empty if the metric takes numbers."""
    label_kind: Kind
    """What the labels are."""
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
        """Make the key from `frame` (columns: id, target, split) and check it against `spec`.

        Raises:
            TaskError: an answer is wrong; the message names `name`, the column and the value.
        """
        import numpy as np

        metric = get_metric(spec.metric)
        for column in (*filter(None, (spec.id_column,)), spec.target_column, SPLIT_COLUMN):
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
        values = [str(value) for value in frame[spec.target_column]]
        if metric.predicts == "number":
            truth = np.array([_number(value, metric, spec, name) for value in values])
            return cls(metric, ids, id_kind, position, truth, (), Kind.NUMBER, public)
        classes, kind = _classes(values, metric, spec, name)
        code = {label: k for k, label in enumerate(classes)}
        labels = [canonical(value, kind) for value in values]
        for value, label in zip(values, labels, strict=True):
            if label not in code:
                raise TaskError(
                    f"{name} holds the label {value!r} in column {spec.target_column!r}, but sample_submission.csv "
                    f"has no such prediction column (it has {', '.join(classes)})."
                )
        truth = np.array([code[str(label)] for label in labels])
        for mask, part in ((public, "public"), (~public, "private")):
            absent = set(range(len(classes))) - set(truth[mask].tolist())
            if metric.needs_every_class and absent:
                raise TaskError(
                    f"the {part} part of {name} has no row of class {classes[min(absent)]!r}, so {metric.name} is not "
                    f"defined there; move one there or drop the class."
                )
        return cls(metric, ids, id_kind, position, truth, classes, kind, public)

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


def _number(value: str, metric: Metric, spec: TaskSpec, name: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise TaskError(
            f"{name} holds {value!r} in column {spec.target_column!r}; {metric.name} needs finite numbers."
        )
    if metric.minimum is not None and number < metric.minimum:
        raise TaskError(
            f"{name} holds {value!r} in column {spec.target_column!r}; {metric.name} needs numbers of at least "
            f"{metric.minimum:g}."
        )
    return number


def _classes(values: list[str], metric: Metric, spec: TaskSpec, name: str) -> tuple[tuple[str, ...], Kind]:
    """The labels in the order of their codes, and what they are."""
    if metric.predicts == "probability":
        columns = spec.prediction_columns
        if len(columns) > 1:
            kind = kind_of(columns)
            classes = tuple(column.strip() for column in columns)
            # The names of the columns are the labels, so they are compared as they are written there.
            return classes, kind if all(canonical(label, kind) == label for label in classes) else Kind.TEXT
        labels = {canonical(value, Kind.INTEGER) for value in values}
        if not labels <= {"0", "1"}:
            raise TaskError(
                f"sample_submission.csv has the one prediction column {columns[0]!r}, the probability of label 1, but "
                f"{name} holds other labels than 0 and 1; give sample_submission.csv one column per class."
            )
        return ("0", "1"), Kind.INTEGER
    kind = kind_of(values, distinct=False)
    labels = {canonical(value, kind) for value in values}
    if None in labels:
        raise TaskError(f"{name} holds an empty label in column {spec.target_column!r}.")
    order = {Kind.INTEGER: int, Kind.NUMBER: Decimal}.get(kind, str)
    return tuple(sorted(map(str, labels), key=order)), kind
