"""`propose`: what `create_task` will do with a user's table, and what the table leaves open."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from trl_mle.errors import TaskError
from trl_mle.tasks.column_names import no_column
from trl_mle.tasks.create.column_kinds import Column, ColumnKind, describe_column, describe_columns, has_id_name
from trl_mle.tasks.create.doubts import (
    equal_but_for_case,
    feature_doubts,
    kept_ids,
    may_hold_times,
    row_numbers,
    target_doubts,
)
from trl_mle.tasks.create.guess_metric import guess_metric
from trl_mle.tasks.create.guess_target import guess_target, quoted
from trl_mle.tasks.create.origin import Origin, read_origin
from trl_mle.tasks.create.questions import Choice, Question
from trl_mle.tasks.create.request import Request
from trl_mle.tasks.feature_columns import decimal_mark

if TYPE_CHECKING:
    import pandas as pd

ROW_IDS = "the row ids; rows get new ones"
"""Why a column of row ids is left out."""


@dataclass(frozen=True)
class Proposal:
    """What will be done with a table."""

    origin: Origin
    request: Request
    """The user's request, completed as far as the table decides."""
    columns: tuple[Column, ...]
    """All columns of the table. In an explicit request, those that may hold ids or times."""
    reasons: dict[str, str]
    """Why "target", "metric" and "split" are as they are, where they were found in the table."""
    left_out: dict[str, str]
    """Column -> why it is left out."""
    notes: tuple[str, ...]
    questions: tuple[Question, ...]

    @property
    def flags(self) -> list[str]:
        """The completed request as options of `trl-mle tasks create`."""
        request = self.request
        flags = [f"--target {quoted(name)}" for name in request.targets] + [f"--metric {request.metric}"]
        flags += [f"--drop {quoted(name)}" for name in self.left_out] + [
            f"--keep {quoted(name)}" for name in request.keep
        ]
        flags += [] if request.split is None else [f"--split {quoted(str(request.split))}"]
        flags += [] if request.rare is None else [f"--rare {request.rare}"]
        flags += ["--drop-missing-targets"] * bool(request.drop_missing_targets)
        return flags + ["--keep-missing-words"] * request.keep_missing_words

    @property
    def features(self) -> list[str]:
        """Columns that programs get."""
        return [name for name in self.origin.frame.columns if name not in (*self.left_out, *self.request.targets)]


def propose(csv: Path | str, request: Request, sep: str | None = None, encoding: str | None = None) -> Proposal:
    """Read the table and find what the request leaves open.

    Raises:
        TaskError: the table cannot be read, or no task can be made of it.
    """
    origin = read_origin(csv, request.targets, sep, encoding)
    proposal = complete(origin, request)
    guessed = () if request.targets or origin.targets else proposal.request.targets
    if guessed and origin.path.is_dir() and not origin.images:
        # Once the target is known, the columns that no test row has are left out.
        proposal = complete(read_origin(csv, guessed, sep, encoding), request)
    return proposal


def complete(origin: Origin, request: Request) -> Proposal:
    """Find what `request` leaves open in the table of `origin`."""
    frame, source = origin.frame, origin.name
    request = replace(request, drop=tuple(name for name in request.drop if name not in origin.left_out))
    for column in (
        *request.targets,
        *request.drop,
        *request.keep,
        *filter(None, (request.split and request.split.column,)),
    ):
        if column not in frame.columns:
            raise TaskError(no_column(origin.path, str(column), list(frame.columns)))
    decimal, _ = decimal_mark(frame, origin.separator, request.decimal)
    explicit = request.is_explicit
    columns = (
        {
            name: describe_column(frame[name], decimal)
            for name in frame.columns
            if has_id_name(str(name)) or may_hold_times(frame[name])
        }
        if explicit
        else describe_columns(frame, decimal)
    )
    nameless = _without_header(frame)
    reasons: dict[str, str] = {}
    questions: list[Question] = []
    request = replace(request, targets=request.targets or origin.targets, metric=request.metric or origin.metric)
    if not request.targets:
        hidden = (*request.drop, origin.image_column)
        usable = {name: column for name, column in columns.items() if name not in hidden}
        found = guess_target(usable, source)
        if isinstance(found, Question) and origin.image_column and len(found.choices) == 1:
            found = found.choices[0].options["target"][0], "the only column that can be predicted"
        if isinstance(found, Question):
            questions.append(replace(found, text=" ".join([found.text, *nameless])))
        else:
            request, reasons["target"] = replace(request, targets=(found[0],)), found[1]
    elif request.targets == origin.targets:
        reasons["target"] = origin.reason
    if request.targets and request.metric is None:
        answer = _metric(frame, request, columns, decimal)
        if isinstance(answer, Question):
            questions.append(answer)
        else:
            request, reasons["metric"] = replace(request, metric=answer[0]), answer[1]
    elif request.metric is not None and request.metric == origin.metric:
        reasons["metric"] = origin.metric_reason
    left_out = _left_out(request, columns, origin, explicit)
    doubts = [] if explicit else target_doubts(frame, request)
    not_features = {*left_out, *request.targets, origin.image_column}
    features = [str(name) for name in frame.columns if name not in not_features]
    dated_ids = [
        name
        for name, reason in left_out.items()
        if reason == ROW_IDS and name in columns and columns[name].kind is ColumnKind.DATE
    ]
    doubts += feature_doubts(frame, request, columns, features, dated_ids, decimal)
    if request.split is None and not any("group:" in choice.flags for doubt in doubts for choice in doubt.choices):
        reasons["split"] = "the default"
    notes = [] if not explicit else [doubt.sentence() for doubt in doubts]
    notes += row_numbers(frame, features, request) if explicit else []
    notes += equal_but_for_case(frame, request)
    notes += [
        f"Column {name!r} holds dates, and no program gets it, because new row ids take its place. `--id row` keeps it as a "
        "feature."
        for name in dated_ids
    ]
    if request.split is not None:
        notes += kept_ids([columns[name] for name in features if name in columns], request)
    notes += [
        f"Column {name!r} is taken for text, because {columns[name].no_number}."
        for name in features
        if name in columns and columns[name].no_number
    ]
    notes += nameless
    return Proposal(
        origin,
        request,
        tuple(columns.values()),
        reasons,
        left_out,
        tuple(notes),
        tuple(questions if explicit else [*questions, *doubts]),
    )


def _without_header(frame: pd.DataFrame) -> list[str]:
    """A note if names of columns look like data: fractions, or values of their columns. pandas gives whole numbers as names."""
    like_data = [
        name
        for name in map(str, frame.columns)
        if not name.isdecimal() and (re.fullmatch(r"[+-]?\d*\.\d+", name) or (frame[name] == name).any())
    ]
    if 2 * len(like_data) < len(frame.columns):
        return []
    return [
        f"Columns are called {like_data[0]!r} and the like. If the first line is data, write a line with names above it."
    ]


def _metric(
    frame: pd.DataFrame, request: Request, columns: dict[str, Column], decimal: str | None
) -> tuple[str, str] | Question:
    """One metric for all targets."""
    found = [guess_metric(columns[name], frame[name], decimal, request.keep_missing_words) for name in request.targets]
    for each in found:
        if isinstance(each, Question):
            return each
    metrics = {each[0] for each in found if not isinstance(each, Question)}
    if len(metrics) == 1:
        return found[0]  # type: ignore[return-value]
    if metrics == {"rmse", "rmsle"}:
        return "rmse", "numbers"
    return Question(
        f"The targets {', '.join(map(repr, request.targets))} need different metrics ({', '.join(sorted(metrics))}), and a task "
        "has one for all.",
        tuple(
            Choice(f"predict {name!r} alone", f"--target {quoted(name)}", {"target": (name,)})
            for name in request.targets
        ),
    )


def _left_out(request: Request, columns: dict[str, Column], origin: Origin, explicit: bool) -> dict[str, str]:
    """Columns that programs do not get, with the reason."""
    left_out = dict.fromkeys(request.drop, "as asked (`--drop`)")
    # The id column of a sample submission, or one that the user names.
    named = request.id_column or (origin.id_column if origin.prediction_columns else None)
    if named in origin.frame.columns and origin.frame[named].is_unique and named != origin.image_column:
        left_out.setdefault(str(named), ROW_IDS)
    spared = {*request.keep, *request.targets, origin.image_column, request.split and request.split.column}
    for name, column in columns.items():
        if name in spared or name in left_out:
            continue
        if column.is_row_id:
            left_out[name] = ROW_IDS
        elif not explicit and column.kind in (ColumnKind.EMPTY, ColumnKind.CONSTANT):
            left_out[name] = "the same in each row" if column.kind is ColumnKind.CONSTANT else "without any value"
    return left_out
