"""A folder as Kaggle has it: `train.csv`, `test.csv` without labels, and a sample submission."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trl_mle.errors import TaskError
from trl_mle.grading.values import Kind, canonical, number_of
from trl_mle.tasks.assemble import ID_COLUMN
from trl_mle.tasks.create.origin import Origin
from trl_mle.tasks.text_table import TextTable, read_text_table

if TYPE_CHECKING:
    import pandas as pd


def read_kaggle(
    path: Path,
    train: Path,
    test: Path | None,
    sample: Path | None,
    targets: tuple[str, ...],
    sep: str | None,
    encoding: str | None,
) -> Origin:
    """The labelled table, with the targets and the form of submissions that the other files speak for.

    Raises:
        TaskError: a file cannot be read, or `test` holds the target.
    """
    target = targets[0] if targets else None
    table = read_text_table(train, target, sep, encoding)
    frame, notes = table.frame, list(table.notes)
    unlabelled = None if test is None else read_text_table(test, None, sep, encoding)
    form = None if sample is None else read_text_table(sample, None, None, encoding)
    known: dict[str, Any] = {}
    test_columns = () if unlabelled is None else tuple(unlabelled.frame.columns)
    id_column = _id_column(frame, test_columns, form)
    hidden = [name for name in frame.columns if test_columns and name not in test_columns]
    if form is not None:
        known = _from_sample(path, frame, form, id_column, hidden, target)
    elif len(hidden) == 1 and target is None:
        known = {"targets": (hidden[0],), "reason": "the only column that test.csv does not have"}
    if targets and known.get("targets") != targets:
        known = {}  # the sample submission is one of other targets
    named = known.get("targets", targets)
    # What no test row will have is no feature.
    extra = [name for name in hidden if named and name not in named and name != id_column]
    if unlabelled is not None:
        if shown := [name for name in named if name in test_columns]:
            raise TaskError(
                f"{test} holds the target {shown[0]!r}, so its rows have answers. Give {train} alone, or join the two files first."
            )
        notes.append(
            f"The {len(unlabelled.frame)} rows of {test.name if test else ''} have no answers and are not used. A part of "
            f"{train.name} becomes the test rows."
        )
        if extra:
            notes.append(
                f"Columns that {test.name if test else ''} does not have are left out: {', '.join(map(repr, extra))}."
            )
            frame = frame.drop(columns=extra)
    known |= {"id_column": id_column or ID_COLUMN, "left_out": tuple(extra)}
    return Origin(path, frame, table.separator, tuple(notes), **known)


def _id_column(frame: pd.DataFrame, test_columns: tuple[str, ...], form: TextTable | None) -> str | None:
    """The column of the sample submission that names rows."""
    if form is None:
        return None
    for name in form.frame.columns:
        if name in test_columns or (not test_columns and name in frame.columns and frame[name].is_unique):
            return str(name)
    return str(form.frame.columns[0])


def _from_sample(
    path: Path, frame: pd.DataFrame, form: TextTable, id_column: str | None, hidden: list[str], target: str | None
) -> dict[str, Any]:
    """Targets, prediction columns and metric, as far as the sample submission says them."""
    predicted = tuple(str(name) for name in form.frame.columns if name != id_column)
    if not predicted:
        return {}
    if all(name in frame.columns for name in predicted):
        targets, columns = predicted, predicted
        reason = (
            "the columns of the sample submission" if len(predicted) > 1 else "the column of the sample submission"
        )
    else:
        candidates = [target] if target else [name for name in hidden if name != id_column]
        classes = [name for name in candidates if _labels(frame[name].unique()) == _labels(predicted)]
        if len(classes) == 1 and len(predicted) > 1:
            return {
                "targets": (classes[0],),
                "reason": "its classes are the columns of the sample submission",
                "prediction_columns": predicted,
                "metric": "log_loss",
                "metric_reason": "the sample submission has one column per class",
            }
        if len(candidates) != 1 or len(predicted) > 1:
            if target is not None:
                return {}
            shown = ", ".join(map(repr, predicted[:5]))
            raise TaskError(
                f"the sample submission of {path} has the columns {shown}, which are neither columns of train.csv nor the classes "
                f"of one; name the target (`--target`). Candidates: {', '.join(map(repr, candidates[:6] or frame.columns[:6]))}."
            )
        targets, columns, reason = (candidates[0],), predicted, "the only column that test.csv does not have"
    known: dict[str, Any] = {"targets": targets, "reason": reason, "prediction_columns": columns}
    return known | _metric(frame, form, targets, columns)


def _labels(texts: Iterable[str]) -> set[str]:
    """The labels among `texts`. Whole numbers count by value: where a value is missing, pandas writes codes as floats."""
    return {canonical(text, Kind.INTEGER) or text.strip() for text in texts} - {""}


def _metric(
    frame: pd.DataFrame, form: TextTable, targets: tuple[str, ...], columns: tuple[str, ...]
) -> dict[str, Any]:
    """The metric that the values of the sample submission speak for: labels or probabilities of two classes."""
    labels = {value for name in targets for value in frame[name].str.strip()} - {""}
    values = {value for name in columns for value in form.frame[name].str.strip()}
    numbers = [number_of(value) for value in values]
    if labels <= {"0", "1", "0.0", "1.0"} and len(labels) > 1 and None not in numbers:
        if any(number is not None and 0 < number < 1 for number in numbers):
            return {"metric": "roc_auc", "metric_reason": "the sample submission holds probabilities"}
        if len(values) > 1:
            return {"metric": "accuracy", "metric_reason": "the sample submission holds the labels 0 and 1"}
        return {}
    if None in numbers and values <= labels and len(labels) == 2:
        return {"metric": "accuracy", "metric_reason": "the sample submission holds labels"}
    return {}
