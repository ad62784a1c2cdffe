"""Summary of a table for the prompt: one line per column, or one line for a run of similar columns.

Names and values come from data and may hold any text, so they are cleaned and cut before they reach the prompt.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trl_mle.special_tokens import escape
from trl_mle.text_tables import next_row, open_bytes, separator_of

if TYPE_CHECKING:
    import pandas as pd

MAX_NAME = 40
"""Longest name of a column, in characters."""
MAX_VALUE = 24
"""Longest category or example, in characters."""
MAX_CATEGORIES = 10
"""Most categories that are listed."""
MAX_LINES = 24
"""Most lines of a table, without the one of its target."""
MAX_TARGETS = 10
"""Most targets that have a line each."""
MIN_RUN = 4
"""Smallest number of numeric columns with consecutively numbered names that share a line."""


@dataclass(frozen=True)
class TableSummary:
    """A table as the prompt shows it."""

    rows: int
    """Number of rows."""
    lines: tuple[str, ...]
    """One line per column or run of columns."""


def clean(text: object, limit: int) -> str:
    """`text` on one line of at most `limit` characters, without control characters, backticks and special tokens."""
    line = re.sub(r"[`\x00-\x1f\x7f-\x9f\u2028\u2029\s]+", " ", str(text)).strip()
    line = line if len(line) <= limit else line[: limit - 3] + "..."
    return escape(line)


def escape_line(text: str) -> str:
    """`text` with escapes for what could end its line, the code block or the message."""
    return escape(re.sub(r"[`\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda match: f"\\u{ord(match.group()):04x}", text))


def name_of(column: object) -> str:
    """The name of a column, in quotes as a string literal if the prompt cannot show it as it is."""
    name = str(column)
    shown = clean(name, MAX_NAME)
    if shown == name or len(name) > MAX_NAME:
        return shown
    return escape_line(json.dumps(name, ensure_ascii=False))


def count_rows(path: Path) -> int:
    """Number of rows of a table of text, without its header."""
    import csv

    with open_bytes(path) as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=separator_of(path))
        return sum(1 for row in iter(lambda: next_row(reader), None) if row) - 1


def summarize(table: pd.DataFrame, id_column: str | None, targets: str | Sequence[str]) -> TableSummary:
    """Summarise each column of `table` (N rows): type, range or categories, and share of missing values.

    The targets stand last and are never part of a run.
    """
    targets = (targets,) if isinstance(targets, str) else targets
    columns = [column for column in table.columns if column not in targets]
    lines = []
    runs = _runs(table, columns)
    hidden = runs[MAX_LINES - 1 :] if len(runs) > MAX_LINES else []
    for run in runs[: len(runs) - len(hidden)]:
        if len(run) == 1:
            kind = "row id" if run[0] == id_column else _describe(table[run[0]])
            lines.append(f"{name_of(run[0])}: {kind}")
        else:
            first, last = name_of(run[0]), name_of(run[-1])
            lines.append(f"{first} .. {last} ({len(run)} columns): {_describe_run(table[run])}")
    if hidden:
        lines.append(f"and {sum(map(len, hidden))} more columns; read the header")
    shown = targets if len(targets) <= MAX_TARGETS else targets[: MAX_TARGETS - 1]
    lines += [f"{name_of(target)} (to predict): {_describe(table[target], is_target=True)}" for target in shown]
    if len(shown) < len(targets):
        lines.append(f"and {len(targets) - len(shown)} more columns to predict")
    return TableSummary(len(table), tuple(lines))


def _runs(table: pd.DataFrame, columns: list[str]) -> list[list[str]]:
    """Consecutive numeric columns whose names differ only in a number that counts up."""
    import pandas as pd

    runs: list[list[str]] = []
    previous: tuple[str, int] | None = None
    for column in columns:
        match = re.fullmatch(r"(.*?)(\d{1,9})", str(column))
        numeric = pd.api.types.is_numeric_dtype(table[column])
        name = (match.group(1), int(match.group(2))) if match and numeric else None
        if name and previous and name == (previous[0], previous[1] + 1):
            runs[-1].append(column)
        else:
            runs.append([column])
        previous = name
    return [part for run in runs for part in ([run] if len(run) >= MIN_RUN else [[column] for column in run])]


def _describe(values: pd.Series, is_target: bool = False) -> str:
    import pandas as pd

    present = values.dropna()
    if present.empty:
        return "empty"
    distinct = present.nunique()
    numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    # A numeric target with few values is a class: its values say more than its range.
    if numeric and not (is_target and distinct <= MAX_CATEGORIES):
        return f"{_kind(values)} {_range(present.min(), present.max())}{_missing(values)}"
    if is_target or distinct <= MAX_CATEGORIES or present.map(lambda value: len(str(value))).max() <= 1:
        return f"{_categories(present, distinct)}{_missing(values)}"
    # Values that repeat often are categories even if they are too many to be listed in full.
    if distinct <= min(100, len(values) // 10):
        return f"{_categories(present, distinct)}{_missing(values)}"
    return f"text, such as {clean(present.iloc[0], MAX_VALUE)!r}{_missing(values)}"


def _describe_run(values: pd.DataFrame) -> str:
    kinds = {_kind(values[column]) for column in values.columns}
    kind = "int" if kinds == {"int"} else "float"
    gaps = float(values.isna().to_numpy().mean())
    bounds = _range(values.min().min(), values.max().max())
    return f"{kind} {bounds}" + (f", {_percent(gaps)} missing" if gaps else "")


def _categories(present: pd.Series, distinct: int) -> str:
    counts = present.value_counts()
    shown = list(counts.index[:MAX_CATEGORIES])
    if distinct <= MAX_CATEGORIES:
        # pandas may read numbers and texts into one column, and the two cannot be compared.
        shown.sort(key=lambda value: (isinstance(value, str), value))
    names = ", ".join(clean(value, MAX_VALUE) for value in shown)
    more = f" and {distinct - MAX_CATEGORIES} more" if distinct > MAX_CATEGORIES else ""
    return f"{distinct} categories: {names}{more}"


def _kind(values: pd.Series) -> str:
    import pandas as pd

    if pd.api.types.is_bool_dtype(values):
        return "bool"
    return "int" if pd.api.types.is_integer_dtype(values) else "float"


def _range(low: Any, high: Any) -> str:
    return f"{float(low):.6g} to {float(high):.6g}"


def _missing(values: pd.Series) -> str:
    gaps = float(values.isna().mean())
    return f", {_percent(gaps)} missing" if gaps else ""


def _percent(share: float) -> str:
    return "under 1%" if share < 0.01 else f"{share:.0%}"
