"""The table of rollouts: small columns of all rows, and the texts of as many as the file has room for."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from trl_mle.evaluation.failure_classes import CLASS_COLUMNS, failure_class
from trl_mle.outcomes import Column, RunColumn, metric_column, shorten
from trl_mle.reports.html.curves import rounded
from trl_mle.reports.html.lineage import Lineages
from trl_mle.reports.html.loading import ADVANTAGE, COMPLETION, TEXT_COLUMNS, TURNS, WEIGHT, LoadedRun
from trl_mle.reports.html.texts import ABSENT, TEXT_CHARACTERS, TextStore
from trl_mle.types import MILESTONES, PROGRAM_METRICS

if TYPE_CHECKING:
    import pandas as pd

MAX_ROWS = 100_000
"""Rows of the table, over all runs. Of more rollouts, the newest of each run are taken."""
MAX_CLASSES = 200
"""Failure classes with a name of their own. A policy chooses the names of exceptions, so there may be any number."""
OTHER_CLASSES = "another class"
_KEY = re.compile(r"\[\[trl_mle:[0-9A-Za-z_-]{1,128}:")
_SECRET_FREE = "[[trl_mle:…:"
"""Marks without their keys. Otherwise no two instrumented programs are equal, and none could be stored once."""
TEXTS = ("program", "instrumented", "plan", "stdout", "stderr", "completion", "turns", "reason")


class RolloutTable:
    """Columns of all rows, filled run by run.

    Args:
        texts ([`TextStore`]):
            Where texts go.
    """

    def __init__(self, texts: TextStore):
        self.texts = texts
        self.columns: dict[str, list] = {}
        self.classes: dict[str, int] = {}
        """Failure class -> the number by which rows refer to it."""
        self.left_out = 0
        """Rollouts that are not in the table."""
        self._offsets: list[int] = []

    def add(self, number: int, run: LoadedRun, lineages: Lineages, max_rows: int) -> None:
        """Add the rows of run `number`."""
        rollouts = run.rollouts
        kept = rollouts.iloc[max(0, len(rollouts) - max_rows) :]  # the newest
        self.left_out += len(rollouts) - len(kept)
        first = len(self.columns.get("run", ())) - int(kept.index[0])  # row of the run -> row of the table
        classes = [failure_class(row) for row in _rows(kept, CLASS_COLUMNS)]
        inside = set(kept.index)
        parents = [lineages.parents.get(row) for row in kept.index]
        new: dict[str, list] = {
            "run": [number] * len(kept),
            "row": [int(row) for row in kept.index],
            "step": _integers(kept[RunColumn.STEP]),
            "batch": _integers(kept[RunColumn.BATCH]),
            "task": [task if isinstance(task, str) else "" for task in kept[Column.TASK_ID]],
            "kind": [kind if isinstance(kind, str) else "lost" for kind in kept[Column.KIND]],
            "reward": _numbers(kept[Column.REWARD]),
            "public": _numbers(kept[Column.PUBLIC_SCORE]),
            "private": _numbers(kept[Column.PRIVATE_SCORE]),
            "seconds": _numbers(kept[Column.DURATION]),
            "cpu": _numbers(kept[Column.CPU_DURATION]),
            "memory": _integers(kept[Column.MAX_RSS]),
            "weight": _numbers(kept[WEIGHT]) if WEIGHT in kept else [None] * len(kept),
            "advantage": _numbers(kept[ADVANTAGE]) if ADVANTAGE in kept else [None] * len(kept),
            "milestones": [_bits(value) for value in kept[Column.MILESTONES]],
            "prompt": [kind if isinstance(kind, str) else "" for kind in kept[RunColumn.PROMPT_KIND]],
            "depth": _integers(kept[RunColumn.DEPTH]),
            "class": [self._class_number(name) for name in classes],
            "parent": [None if row is None or row not in inside else row + first for row in parents],
            "own": [_own_metrics(row) for row in _rows(kept, tuple(map(metric_column, PROGRAM_METRICS)))],
        }
        for name, values in new.items():
            self.columns.setdefault(name, []).extend(values)
        for name in TEXTS:
            self.columns.setdefault(name, []).extend([ABSENT] * len(kept))
        self.columns.setdefault("has_texts", []).extend([0] * len(kept))
        self._offsets.append(first)

    def row_of(self, number: int, row: int | None) -> int | None:
        """Row of the table of a row of run `number`; `None` if it is not in the table."""
        if row is None:
            return None
        place = row + self._offsets[number]
        runs = self.columns["run"]
        return (
            place if 0 <= place < len(runs) and runs[place] == number and self.columns["row"][place] == row else None
        )

    def add_texts(self, number: int, run: LoadedRun, rows: Iterable[int]) -> None:
        """Add the texts of rows of run `number`, in this order, until the store is full."""
        chosen = [
            row for row in rows if (place := self.row_of(number, row)) is not None and not self._has_texts(place)
        ]
        wanted = (*TEXT_COLUMNS, *_REASON_COLUMNS)
        texts = run.rollouts[[column for column in wanted if column in run.rollouts]]
        for start in range(0, len(chosen), 500):
            part = chosen[start : start + 500]
            frame = texts.iloc[part]
            for row, values in zip(part, _rows(frame, wanted), strict=True):
                if self.texts.is_full:
                    return
                self._put(row + self._offsets[number], values)

    def _has_texts(self, place: int) -> bool:
        return bool(self.columns["has_texts"][place])

    def _put(self, place: int, values: dict[str, Any]) -> None:
        program = values.get(Column.PROGRAM)
        texts = {
            "program": program,
            "instrumented": _without_keys(values.get(Column.INSTRUMENTED_PROGRAM)),
            "plan": values.get(Column.PLAN),
            "stdout": values.get(Column.STDOUT),
            "stderr": values.get(Column.STDERR),
            # A program says all that its completion says.
            "completion": None if isinstance(program, str) else _as_text(values.get(COMPLETION)),
            "turns": values.get(TURNS),
            "reason": _reasons(values),
        }
        for name, text in texts.items():
            self.columns[name][place] = self.texts.add(_cut(text, name))
        self.columns["has_texts"][place] = 1

    def _class_number(self, name: str | None) -> int:
        if name is None:
            return ABSENT
        if name not in self.classes and len(self.classes) >= MAX_CLASSES:
            name = OTHER_CLASSES
        return self.classes.setdefault(name, len(self.classes))


_REASON_COLUMNS = (
    Column.EXTRACTION_REASON,
    Column.FALLBACK,
    Column.SUBMISSION_REASON,
    Column.INVALID_REASON,
    Column.FAULT,
)


def _rows(frame: pd.DataFrame, columns: Sequence[str]) -> Iterable[dict[str, Any]]:
    """Rows as dictionaries of those `columns` that `frame` has."""
    present = [column for column in columns if column in frame]
    values = [frame[column].tolist() for column in present]
    return (
        [dict(zip(present, row, strict=True)) for row in zip(*values, strict=True)] if present else [{}] * len(frame)
    )


def _numbers(values: Iterable[Any]) -> list[float | None]:
    return [rounded(value) if isinstance(value, (int, float)) else None for value in values]


def _integers(values: Iterable[Any]) -> list[int | None]:
    return [int(value) if isinstance(value, (int, float)) and math.isfinite(value) else None for value in values]


def _bits(value: Any) -> int:
    """Milestones of a row, one bit each in the order of `MILESTONES`."""
    names = set(map(str, value)) if isinstance(value, Iterable) and not isinstance(value, str) else set()
    return sum(1 << place for place, name in enumerate(MILESTONES) if name in names)


def _own_metrics(row: dict[str, Any]) -> dict[str, float] | int:
    """Numbers that a program printed of itself, or 0 if it printed none."""
    numbers = {name: rounded(row.get(metric_column(name))) for name in PROGRAM_METRICS}
    return {name: value for name, value in numbers.items() if value is not None} or 0


def _without_keys(code: Any) -> str | None:
    return _KEY.sub(_SECRET_FREE, code) if isinstance(code, str) else None


def _reasons(values: dict[str, Any]) -> str:
    lines = [f"{column.value}: {text}" for column in _REASON_COLUMNS if isinstance(text := values.get(column), str)]
    return "\n".join(lines)


def _as_text(value: Any) -> str | None:
    """A completion: text, or messages as JSON."""
    if value is None or isinstance(value, str):
        return value
    try:
        return json.dumps(value if isinstance(value, (list, dict)) else list(value), indent=1, default=str)
    except (TypeError, ValueError):
        return str(value)


def _cut(text: Any, name: str) -> Any:
    """Long texts without their middle. Turns are JSON, which a cut would break: long ones lose the texts inside."""
    if not isinstance(text, str) or len(text) <= TEXT_CHARACTERS:
        return text
    return _cut_turns(text) if name == "turns" else shorten(text, TEXT_CHARACTERS)


def _cut_turns(text: str) -> str:
    try:
        turns = json.loads(text)
    except (ValueError, RecursionError):
        return shorten(text, TEXT_CHARACTERS)
    if not isinstance(turns, list):
        return shorten(text, TEXT_CHARACTERS)
    room = TEXT_CHARACTERS // (8 * max(1, len(turns)))
    cut = [
        {key: shorten(value, max(room, 200)) if isinstance(value, str) else value for key, value in turn.items()}
        if isinstance(turn, dict)
        else turn
        for turn in turns
    ]
    text = json.dumps(cut)
    return text if len(text) <= 2 * TEXT_CHARACTERS else shorten(text, TEXT_CHARACTERS)
