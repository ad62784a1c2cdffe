"""Doubts about a request: rows without a target, rare classes, features that give the target away, rows that belong together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trl_mle.errors import TaskError
from trl_mle.grading import get_metric
from trl_mle.grading.values import MISSING_WORDS
from trl_mle.tasks.column_names import clean_name
from trl_mle.tasks.create.column_kinds import Column, ColumnKind, words_of
from trl_mle.tasks.create.dates import may_be_date
from trl_mle.tasks.create.guess_target import quoted
from trl_mle.tasks.create.leaks import find_leaks
from trl_mle.tasks.create.questions import Choice, Question
from trl_mle.tasks.create.rare_classes import rare_classes
from trl_mle.tasks.create.request import Request
from trl_mle.tasks.create.row_splits import times
from trl_mle.tasks.target_column import MAX_CLASSES, is_missing

if TYPE_CHECKING:
    import pandas as pd

LEAST_ENTITIES = 10
"""Values of an id that repeats from which on its rows count as those of one thing, such as a patient."""
MOST_ROWS_PER_ENTITY = 100
LEAST_TIMES = 20
"""Different times from which on rows in their order are measurements over time."""
_TIME_WORDS = frozenset(("time", "timestamp", "date", "datetime", "epoch", "unix", "year", "month", "week", "day"))


def feature_doubts(
    frame: pd.DataFrame,
    request: Request,
    columns: dict[str, Column],
    features: list[str],
    dated_ids: list[str],
    decimal: str | None,
) -> list[Question]:
    """Features that give a target away, and rows that belong together, also by dates that are left out as row ids."""
    searched = [name for name in features if name not in request.keep]
    doubts = []
    for target in request.targets:
        numeric = request.metric is None or get_metric(request.metric).predicts == "number"
        for leak in find_leaks(frame[searched], frame[target], numeric, decimal, request.keep_missing_words):
            column = quoted(leak.column)
            choices = (
                Choice("leave it out", f"--drop {column}", {"drop": (leak.column,)}),
                Choice("it is known when a prediction is made", f"--keep {column}", {"keep": (leak.column,)}),
            )
            doubts.append(Question(f"Column {leak.column!r} {leak.reason} ({target!r}).", choices))
    if request.split is None:
        searched = [name for name in columns if name in (*features, *dated_ids)]
        doubts += _split_doubts(frame, [columns[name] for name in searched], request.decimal)
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
            are = "is a class" if len(words) == 1 else "are classes"
            choices.append(Choice(f"{shown} {are}", "--keep-missing-words", {"keep_missing_words": True}))
        count, empty = int(missing.sum()), (stripped == "").any()
        if words:
            held = f"hold{'s' * (count == 1)} {' or '.join(map(repr, words))}" + " or nothing" * bool(empty)
        else:
            held = "has no value" if count == 1 else "have no value"
        doubts.append(Question(f"{count} of {len(texts)} rows {held} in column {texts.name!r}.", tuple(choices)))
    # With too many classes, the target is probably a number, which is said where it is read.
    no_classes = metric.predicts in ("number", "text") or stripped[~missing].nunique() > MAX_CLASSES
    if no_classes or request.rare is not None:
        return doubts
    rare = rare_classes(stripped[~missing], request.rare_rows)
    if rare:
        shown = ", ".join(f"{label!r} ({count})" for label, count in list(rare.items())[:5])
        present = stripped[~missing]
        common = present.nunique() - len(rare)
        choices = [Choice("leave their rows out", "--rare drop", {"rare": "drop"})] if common > 1 else []
        if len(rare) > 1 and common and present.isin(rare).sum() >= request.rare_rows:
            choices.append(Choice("make them one class", "--rare merge", {"rare": "merge"}))
        choices.append(Choice("keep them as they are", "--rare keep", {"rare": "keep"}))
        doubts.append(
            Question(
                f"{len(rare)} class{'' if len(rare) == 1 else 'es'} of {texts.name!r} "
                f"{'has' if len(rare) == 1 else 'have'} fewer than {request.rare_rows} rows: {shown}"
                + (" and more." if len(rare) > 5 else "."),
                tuple(choices),
            )
        )
    return doubts


def _split_doubts(frame: pd.DataFrame, columns: list[Column], decimal: str | None) -> list[Question]:
    """Rows that belong together, and rows in the order of time."""
    doubts = []
    at_random = Choice("rows have nothing to do with each other", "--split random", {"split": "random"})
    for column in columns:
        name, flag = column.name, f"--split {quoted('group:' + column.name)}"
        if column.id_name and not column.is_unique and column.distinct >= LEAST_ENTITIES:
            if column.rows <= MOST_ROWS_PER_ENTITY * column.distinct:
                text = f"Column {name!r} repeats: {column.rows} rows have {column.distinct} different values."
                together = Choice("keep rows of one value in one part", flag, {"split": f"group:{name}"})
                without = Choice("leave the column out", f"--drop {quoted(name)}", {"drop": (name,)})
                doubts.append(Question(text, (together, without, at_random)))
        elif _may_be_time(column):
            try:
                keys = times(frame[name], decimal)
            except TaskError:  # a date that may have the day or the month first
                continue
            # Some tables have the newest rows first.
            if keys.is_monotonic_increasing or keys.is_monotonic_decreasing:
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


def may_hold_times(texts: pd.Series) -> bool:
    """Whether the name of a column, or its first value, is one of times."""
    named = not _TIME_WORDS.isdisjoint(words_of(str(texts.name)))
    return named or may_be_date(str(texts.iloc[0]).strip())


def _may_be_time(column: Column) -> bool:
    """Whether rows in the order of the column are rows over time: few dates are in order by chance."""
    named = not _TIME_WORDS.isdisjoint(words_of(column.name))
    if column.missing or not (column.kind is ColumnKind.DATE or (named and column.kind is ColumnKind.WHOLE)):
        return False
    return column.distinct >= LEAST_TIMES or column.distinct > max(1, column.rows // 2)


def kept_ids(columns: list[Column], request: Request) -> list[str]:
    """Notes about features with names of ids whose values repeat."""
    return [
        f"Column {column.name!r} has a name of ids, repeats, and stays a feature (`--drop {quoted(column.name)}` leaves it out)."
        for column in columns
        if column.id_name and column.distinct >= LEAST_ENTITIES and column.name not in request.keep
    ]


def equal_but_for_case(frame: pd.DataFrame, request: Request) -> list[str]:
    """Notes about classes that differ in capital letters alone."""
    notes: list[str] = []
    if request.metric is None or get_metric(request.metric).predicts not in ("label", "probability"):
        return notes
    for target in request.targets:
        labels = sorted({clean_name(text) for text in frame[target].unique()})
        by_fold: dict[str, str] = {}
        for label in labels if {label.lower() for label in labels} - {"true", "false"} else ():
            other = by_fold.setdefault(label.casefold(), label)
            if other != label:
                notes.append(
                    f"The classes {other!r} and {label!r} of {target!r} differ in capital letters alone. Write them "
                    "alike if they are one."
                )
                break
    return notes


def row_numbers(frame: pd.DataFrame, features: list[str], request: Request) -> list[str]:
    """Notes about columns that may number the rows under another name."""
    notes = []
    for name in features if len(frame) > 20 else ():
        texts = frame[name]
        if name not in request.keep and texts.str.fullmatch(r"[+-]?\d+").all() and texts.is_unique:
            notes.append(f"Column {name!r} has another whole number in each row. Drop it if it is a row id.")
    return notes
