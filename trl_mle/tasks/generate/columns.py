"""The columns of a table: names, kinds, and which of them no program can use."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from trl_mle.grading import SPLIT_COLUMN
from trl_mle.tasks.assemble import ID_COLUMN
from trl_mle.tasks.column_names import clean_name
from trl_mle.tasks.generate.refusal import Refusal

if TYPE_CHECKING:
    import pandas as pd

ColumnKind = Literal["number", "category", "text", "date"]

MIN_ROWS = 120
"""Fewest rows of a table: with fewer, no margin is larger than its interval on 20 % of the rows."""
MAX_ROWS = 20_000
"""Rows that are looked at. Further ones are dropped at random."""
MAX_COLUMNS = 200
MOST_MISSING = 0.8
"""Share of missing values beyond which a column is dropped."""
MAX_CATEGORIES = 100
TEXT_WORDS = 4
"""Mean number of words beyond which a column is free text."""
_ID_NAME = re.compile(
    r"(?i)(.*[._ -])?(id|ids|idno|key|code|index|idx|rownames?|row|rownum|obs|observation|case|caseid|no|nr|uuid|serial)"
    r"|unnamed.*|id[._ -].*|.*[a-z](Id|ID|No)"
)
_ENTITY_NAME = re.compile(
    r"(?i)(.*[._ -])?(subject|patient|person|child|rat|animal|bird|school|class|firm|company|hospital|doctor|country|state|"
    r"county|city|province|region|district|household|family|team|player|batch|site|plot|farm|village|community|cluster|group)s?"
    r"([._ -]?(id|no|nr|name|code))?"
)
_YEAR_FIRST = re.compile(r"\d{4}-\d{1,2}(-\d{1,2})?([T ]\d{1,2}:\d{2}(:\d{2})?.*)?")
_SLASHES = re.compile(r"\d{1,2}/\d{1,2}/\d{4}")


@dataclass(frozen=True)
class CleanTable:
    """A table whose columns can be features or targets."""

    frame: pd.DataFrame
    """Numbers are numbers, everything else is text. Index: 0, 1, 2, ..."""
    kinds: dict[str, ColumnKind]
    """Kind of each column of `frame`."""
    dropped: dict[str, str] = field(default_factory=dict)
    """Reason for each column that was dropped."""


def clean_table(table: pd.DataFrame, seed: int) -> CleanTable:
    """Name and type the columns, and drop those that are constant, nearly empty, row numbers, ids or copies.

    Raises:
        Refusal: there are too few rows or columns, or too many columns.
    """
    if table.shape[1] > MAX_COLUMNS:
        raise Refusal("too many columns", f"{table.shape[1]}, at most {MAX_COLUMNS}")
    frame = table.dropna(how="all")
    if len(frame) < MIN_ROWS:
        raise Refusal("too few rows", f"{len(frame)}, at least {MIN_ROWS}")
    frame = frame.sample(min(len(frame), MAX_ROWS), random_state=seed).sort_index().reset_index(drop=True)
    frame.columns = _names([str(name) for name in frame.columns])
    dropped: dict[str, str] = {}
    kept: dict[str, pd.Series] = {}
    kinds: dict[str, ColumnKind] = {}
    for at, name in enumerate(frame.columns):
        values = _typed(frame[name])
        reason = _useless(name, values, first=at == 0)
        if reason is None and (twin := next((each for each in kept if kept[each].equals(values)), None)):
            reason = f"equals column {twin!r}"
        if reason:
            dropped[name] = reason
            continue
        kind = _kind(values)
        kept[name], kinds[name] = (_normal_dates(values) if kind == "date" else values), kind
    if len(kept) < 2:
        raise Refusal("too few columns", f"{len(kept)} that vary and are no ids, at least 2")
    import pandas as pd

    return CleanTable(pd.DataFrame(kept), kinds, dropped)


def is_id_name(name: str) -> bool:
    """Whether a column is called as ids, codes and row numbers are."""
    return _ID_NAME.fullmatch(name) is not None


def is_entity_name(name: str) -> bool:
    """Whether a column is called as what has several rows in a table, such as subjects, firms or countries."""
    return is_id_name(name) or _ENTITY_NAME.fullmatch(name) is not None


def _names(names: list[str]) -> list[str]:
    """Names without invisible characters, each once, and none of those that a task needs itself."""
    result: list[str] = []
    for at, name in enumerate(names):
        cleaned = clean_name(name)[:100] or f"column_{at + 1}"
        if cleaned.lower() in (ID_COLUMN, SPLIT_COLUMN):
            cleaned = f"source_{cleaned}"
        while cleaned in result:
            cleaned += "_"
        result.append(cleaned)
    return result


def _typed(values: pd.Series) -> pd.Series:
    """Numbers as int64 or float64, infinities as missing, everything else as text on one line."""
    import numpy as np
    import pandas as pd

    if pd.api.types.is_bool_dtype(values):
        return values.astype("object").map(lambda value: None if pd.isna(value) else str(bool(value))).astype("object")
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_complex_dtype(values):
        numbers = values.astype("float64").replace([np.inf, -np.inf], np.nan)
        present = numbers.dropna()
        if len(present) == len(numbers) and (present == present.round()).all() and present.abs().max() < 2**53:
            return numbers.astype("int64")
        return numbers
    return values.map(lambda value: None if pd.isna(value) else clean_name(str(value)) or None).astype("object")


def _useless(name: str, values: pd.Series, first: bool) -> str | None:
    """Why no program can use a column, or `None`."""
    import numpy as np
    import pandas as pd

    present = values.dropna()
    if len(present) < (1 - MOST_MISSING) * len(values):
        return "nearly empty"
    distinct = present.nunique()
    if distinct < 2:
        return "constant"
    if pd.api.types.is_integer_dtype(values) and distinct == len(values):
        steps = np.unique(np.diff(np.sort(values.to_numpy())))
        if len(steps) == 1:
            return "row number"
        if first or is_id_name(name):
            return "id"
    if values.dtype == object:
        words = present.str.split().str.len().mean()
        if words < TEXT_WORDS and distinct > MAX_CATEGORIES and _dates(present) is None:
            if is_entity_name(name) and distinct <= len(values) / 3:
                return None  # a split may go by it
            return "id" if distinct > 0.9 * len(present) else f"{distinct} names"
    return None


def _kind(values: pd.Series) -> ColumnKind:
    if values.dtype != object:
        return "number"
    present = values.dropna()
    if _dates(present) is not None:
        return "date"
    few = present.nunique() <= MAX_CATEGORIES
    return "category" if few or present.str.split().str.len().mean() < TEXT_WORDS else "text"


def _dates(present: pd.Series) -> pd.Series | None:
    """The dates that the (N,) texts `present` are, or `None` if they do not have one form.

    Dates with slashes may have the day or the month first. They are dates if their values decide which.
    """
    if _all_match(_YEAR_FIRST, present):
        return _read(present, "mixed")
    if not _all_match(_SLASHES, present):
        return None
    found = [dates for form in ("%d/%m/%Y", "%m/%d/%Y") if (dates := _read(present, form)) is not None]
    return found[0] if found and all(dates.equals(found[0]) for dates in found) else None


def _all_match(pattern: re.Pattern[str], texts: pd.Series) -> bool:
    return all(pattern.fullmatch(text) for text in texts)


def _read(texts: pd.Series, form: str) -> pd.Series | None:
    import pandas as pd

    try:
        return pd.to_datetime(texts, utc=True, format=form)
    except (ValueError, OverflowError):
        return None


def _normal_dates(values: pd.Series) -> pd.Series:
    """Dates as `2024-01-31`, with the time if there is one."""
    parsed = _dates(values.dropna())
    assert parsed is not None
    form = "%Y-%m-%d" if (parsed == parsed.dt.normalize()).all() else "%Y-%m-%d %H:%M:%S"
    return parsed.dt.strftime(form).reindex(values.index).astype("object")
