"""Which row is meant: the rows of a time series are named by their time and the series that they belong to.

One time has many spellings, and so has a number. Rows are compared by value, as pandas would join them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def row_keys(
    frames: list[pd.DataFrame], columns: list[str], time_column: str | None, time_format: str | None
) -> list[list[tuple[object, ...]]]:
    """A key per row of each of `frames`, equal for equal values of `columns`.

    A column is compared as times if it is `time_column`, as numbers if every cell of every frame is one, and as text otherwise.
    """
    values: list[list[pd.Series]] = [[] for _ in frames]
    for column in columns:
        cells = [frame[column].str.strip() for frame in frames]
        if column == time_column:
            cells = [_times_or_text(part, time_format) for part in cells]
        elif all(_numbers(part).notna().all() for part in cells):
            cells = [_numbers(part) for part in cells]
        for chosen, part in zip(values, cells, strict=True):
            chosen.append(part)
    return [list(zip(*parts, strict=True)) for parts in values]


def times_of(cells: pd.Series, time_format: str | None) -> pd.Series:
    """Cells as times in UTC; `NaT` where a cell is no time."""
    import pandas as pd

    times = pd.to_datetime(cells, format=time_format, errors="coerce", utc=True) if time_format else None
    if times is None or times.isna().any():
        # Some files write `T` between date and time, others a space.
        others = pd.to_datetime(cells, format="ISO8601", errors="coerce", utc=True)
        times = others if times is None else times.fillna(others)
    return times


def _times_or_text(cells: pd.Series, time_format: str | None) -> pd.Series:
    times = times_of(cells, time_format)
    return times.astype(object).where(times.notna(), cells.astype(object))


def _numbers(cells: pd.Series) -> pd.Series:
    import pandas as pd

    return pd.to_numeric(cells, errors="coerce")
