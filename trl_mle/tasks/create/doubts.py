"""Doubts about a request: rows without a target, rare classes, features that give the target away, rows that belong together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trl_mle.errors import TaskError
from trl_mle.grading import get_metric
from trl_mle.tasks.create.column_kinds import Column, ColumnKind
from trl_mle.tasks.create.guess_target import quoted
from trl_mle.tasks.create.leaks import find_leaks
from trl_mle.tasks.create.questions import Choice, Question
from trl_mle.tasks.create.rare_classes import rare_classes
from trl_mle.tasks.create.request import Request
from trl_mle.tasks.create.row_splits import times
from trl_mle.tasks.target_column import MAX_CLASSES, MISSING_WORDS, is_missing

if TYPE_CHECKING:
    import pandas as pd

LEAST_ENTITIES = 10
"""Values of an id that repeats from which on its rows count as those of one thing, such as a patient."""
MOST_ROWS_PER_ENTITY = 100


def feature_doubts(
    frame: pd.DataFrame, request: Request, columns: dict[str, Column], features: list[str], decimal: str | None
) -> list[Question]:
    """Features that give a target away, and rows that belong together."""
    searched = [name for name in features if name not in request.keep]
    doubts = []
    for target in request.targets:
        numeric = request.metric is None or get_metric(request.metric).predicts == "number"
        for leak in find_leaks(frame[searched], frame[target], numeric, decimal):
            column = quoted(leak.column)
            choices = (
                Choice("leave it out", f"--drop {column}", {"drop": (leak.column,)}),
                Choice("it is known when a prediction is made", f"--keep {column}", {"keep": (leak.column,)}),
            )
            doubts.append(Question(f"Column {leak.column!r} {leak.reason} ({target!r}).", choices))
    if request.split is None:
        doubts += _split_doubts(frame, [column for name, column in columns.items() if name in features])
    return doubts


def target_doubts(frame: pd.DataFrame, request: Request) -> list[Question]:
    """Rows without a target, and rare classes."""
    return [doubt for target in request.targets for doubt in _doubts_of(frame[target], request)]


def _doubts_of(texts: pd.Series, request: Request) -> list[Question]:
    if request.metric is None:
        return []
    metric = get_metric(request.metric)
    stripped = texts.str.strip()
    missing = is_missing(stripped, metric)
    doubts: list[Question] = []
    if not request.keep_missing_words:
        missing |= stripped.isin(MISSING_WORDS)
    if missing.any() and request.drop_missing_targets is None:
        words = sorted(set(stripped[missing]) - {""})
        choices = [Choice("leave these rows out", "--drop-missing-targets", {"drop_missing_targets": True})]
        if words and metric.predicts != "number":
            shown = ", ".join(map(repr, words))
            choices.append(Choice(f"{shown} are classes", "--keep-missing-words", {"keep_missing_words": True}))
        held = f"hold {' or '.join(map(repr, words))} or nothing" if words else "have no value"
        doubts.append(
            Question(f"{int(missing.sum())} of {len(texts)} rows {held} in column {texts.name!r}.", tuple(choices))
        )
    # With too many classes, the target is probably a number, which is said where it is read.
    no_classes = metric.predicts in ("number", "text") or stripped[~missing].nunique() > MAX_CLASSES
    if no_classes or request.rare is not None:
        return doubts
    rare = rare_classes(stripped[~missing], request.rare_rows)
    if rare:
        shown = ", ".join(f"{label!r} ({count})" for label, count in list(rare.items())[:5])
        choices = [Choice("leave their rows out", "--rare drop", {"rare": "drop"})]
        if len(rare) > 1:
            choices.append(Choice("make them one class", "--rare merge", {"rare": "merge"}))
        choices.append(Choice("keep them as they are", "--rare keep", {"rare": "keep"}))
        doubts.append(
            Question(
                f"{len(rare)} of the classes of {texts.name!r} have fewer than {request.rare_rows} rows: {shown}"
                + (" and more." if len(rare) > 5 else "."),
                tuple(choices),
            )
        )
    return doubts


def _split_doubts(frame: pd.DataFrame, columns: list[Column]) -> list[Question]:
    """Rows that belong together, and rows in the order of time."""
    doubts = []
    at_random = Choice("rows have nothing to do with each other", "--split random", {"split": "random"})
    for column in columns:
        name, flag = column.name, f"--split {quoted('group:' + column.name)}"
        if column.id_name and not column.is_unique and column.distinct >= LEAST_ENTITIES:
            if column.rows <= MOST_ROWS_PER_ENTITY * column.distinct:
                text = f"Column {name!r} repeats: {column.rows} rows have {column.distinct} different values."
                together = Choice("keep rows of one value in one part", flag, {"split": f"group:{name}"})
                doubts.append(Question(text, (together, at_random)))
        elif column.kind is ColumnKind.DATE and not column.missing and column.distinct > column.rows // 2:
            try:
                ordered = times(frame[name]).is_monotonic_increasing
            except TaskError:  # a date that may have the day or the month first
                ordered = False
            if ordered:
                later = Choice(
                    "predict later rows from earlier ones",
                    f"--split {quoted('time:' + name)}",
                    {"split": f"time:{name}"},
                )
                doubts.append(
                    Question(
                        f"The rows are in the order of column {name!r}, as measurements over time are.",
                        (later, at_random),
                    )
                )
    return doubts[:1]  # one split per task


def row_numbers(frame: pd.DataFrame, features: list[str], request: Request) -> list[str]:
    """Notes about columns that may number the rows under another name."""
    notes = []
    for name in features if len(frame) > 20 else ():
        texts = frame[name]
        if name not in request.keep and texts.str.fullmatch(r"[+-]?\d+").all() and texts.is_unique:
            notes.append(f"Column {name!r} has another whole number in each row. Drop it if it is a row id.")
    return notes
