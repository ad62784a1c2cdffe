"""Features that give the target away: equal to it, a relabelling of it, or an increasing or decreasing function of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trl_mle.tasks.written_numbers import WrittenNumberError, read_numbers

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

ROWS_PER_VALUE = 5
"""Rows that each value of a feature must have on average before it can be said to determine the target."""
LEAST_ROWS = 20
"""Fewer rows show nothing."""
_FIRST = 200


@dataclass(frozen=True)
class Leak:
    """A feature that gives the target away."""

    column: str
    reason: str
    """What follows the name of the column in a sentence."""


def find_leaks(features: pd.DataFrame, target: pd.Series, numeric: bool, decimal: str | None = None) -> list[Leak]:
    """The columns that give the target away, with the reason.

    A column with another value in each row determines any target. So its values must repeat, or be numbers in the order of the
    target.

    Args:
        features (`DataFrame`):
            (N, F) texts.
        target (`Series`):
            (N,) texts. Rows without a target are left out.
        numeric (`bool`):
            Whether the target may be a number. Then columns in its order are found, too.
        decimal (`str`, *optional*):
            Decimal mark of the table.
    """
    import pandas as pd

    texts = target.str.strip()
    present = texts != ""
    texts = texts[present]
    if len(texts) < LEAST_ROWS:
        return []
    codes, classes = pd.factorize(texts)
    ranks = _ranks(texts, decimal) if numeric and len(classes) >= LEAST_ROWS // 2 else None
    found = []
    for name in features.columns:
        column = features[name][present].str.strip()
        if column.equals(texts.rename(name)):
            found.append(Leak(str(name), "equals the target"))
        elif leak := _relabelled(column, codes, len(classes)) or _monotone(column, ranks, decimal):
            found.append(leak)
    return found


def _relabelled(column: pd.Series, codes: np.ndarray, classes: int) -> Leak | None:
    """The leak of a column each of whose values has one value of the target."""
    import pandas as pd

    # Most columns are ruled out by their first rows.
    for rows in (_FIRST, len(column)):
        values, distinct = pd.factorize(column.iloc[:rows])
        pairs = len(set(zip(values.tolist(), codes[:rows].tolist(), strict=True)))
        if pairs > len(distinct):
            return None
    if not 2 <= len(distinct) <= len(column) // ROWS_PER_VALUE:
        return None
    if len(distinct) == classes:
        return Leak(str(column.name), "has one value for each value of the target")
    return Leak(str(column.name), "determines the target: rows with the same value have the same target")


def _monotone(column: pd.Series, ranks: pd.Series | None, decimal: str | None) -> Leak | None:
    """The leak of a column that orders the rows as the target does, or the other way round."""
    import numpy as np

    order = None if ranks is None else _ranks(column, decimal)
    if ranks is None or order is None or order.nunique() < LEAST_ROWS // 2:
        return None
    if (order == ranks).all() or (order == len(column) + 1 - ranks).all():
        return Leak(str(column.name), "orders the rows exactly as the target does")
    # Rounded, or the target is: equal values may have different ones in the other column.
    for signed in (order, -order):
        if signed.iloc[np.lexsort((signed, ranks))].is_monotonic_increasing:
            return Leak(str(column.name), "orders the rows as the target does, except those with equal values")
    return None


def _ranks(texts: pd.Series, decimal: str | None) -> pd.Series | None:
    """Ranks of numbers; `None` if a text is no number."""
    import pandas as pd

    try:
        written = read_numbers(texts.unique(), decimal)
    except WrittenNumberError:
        return None
    return pd.Series([written.value[text] for text in texts], index=texts.index).rank()
