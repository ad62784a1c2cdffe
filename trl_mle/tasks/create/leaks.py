"""Features that give the target away: equal to it, a relabelling of it, or an increasing or decreasing function of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trl_mle.grading.values import MISSING_WORDS
from trl_mle.tasks.target_column import MISSING_MARKS
from trl_mle.tasks.written_numbers import WrittenNumberError, read_numbers

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

ROWS_PER_VALUE = 5
"""Rows that each value of a feature must have on average before it can be said to determine the target."""
LEAST_ROWS = 20
"""Fewer rows show nothing."""
_FIRST = 200
_MISSING = MISSING_WORDS | MISSING_MARKS | {""}


@dataclass(frozen=True)
class Leak:
    """A feature that gives the target away."""

    column: str
    reason: str
    """What follows the name of the column in a sentence."""


def find_leaks(
    features: pd.DataFrame,
    target: pd.Series,
    numeric: bool,
    decimal: str | None = None,
    keep_missing_words: bool = False,
) -> list[Leak]:
    """The columns that give the target away, with the reason.

    A column with another value in each row determines any target. So its values must repeat, or be numbers in the order of the
    target. Rows without a value of the column are compared as if that were a value, and then left out.

    Args:
        features (`DataFrame`):
            (N, F) texts.
        target (`Series`):
            (N,) texts. Rows without a target are left out.
        numeric (`bool`):
            Whether the target may be a number. Then columns in its order are found, too.
        decimal (`str`, *optional*):
            Decimal mark of the table.
        keep_missing_words (`bool`, *optional*, defaults to `False`):
            Whether words such as `None` are classes of the target.
    """
    import pandas as pd

    texts = target.str.strip()
    of_classes = frozenset([""]) if keep_missing_words else MISSING_WORDS | {""}
    known = ~texts.isin(_MISSING if numeric else of_classes)
    texts = texts[known]
    if len(texts) < LEAST_ROWS:
        return []
    codes, classes = pd.factorize(texts)
    numbers = _numbers(texts, decimal) if numeric and len(classes) >= LEAST_ROWS // 2 else None
    found = []
    for name in features.columns:
        column = features[name][known].str.strip()
        if reason := _leak(column, texts, codes, numbers, decimal):
            found.append(Leak(str(name), reason))
    return found


def _leak(
    column: pd.Series, texts: pd.Series, codes: np.ndarray, numbers: pd.Series | None, decimal: str | None
) -> str | None:
    """Why a column gives the target away, or `None`."""
    # Over all rows first: a missing value may be what decides the class.
    if reason := _same(column, texts) or _relabelled(column, codes):
        return reason
    present = ~column.isin(_MISSING).to_numpy()
    if not present.all():
        column, texts, codes = column[present], texts[present], codes[present]
        counts = texts.value_counts()
        if len(column) < LEAST_ROWS or len(counts) < 2:
            return None
        if reason := _same(column, texts):
            return reason
        # With hardly a row outside the largest class, few values have one class each by chance.
        if counts.iloc[1] >= ROWS_PER_VALUE and (reason := _relabelled(column, codes)):
            return reason
    return None if numbers is None else _monotone(column, numbers[present], decimal)


def _same(column: pd.Series, texts: pd.Series) -> str | None:
    return "equals the target" if column.equals(texts.rename(column.name)) else None


def _relabelled(column: pd.Series, codes: np.ndarray) -> str | None:
    """Why a column each of whose values has one value of the target gives it away."""
    import pandas as pd

    # Most columns are ruled out by their first rows.
    for rows in (_FIRST, len(column)):
        values, distinct = pd.factorize(column.iloc[:rows])
        pairs = len(set(zip(values.tolist(), codes[:rows].tolist(), strict=True)))
        if pairs > len(distinct):
            return None
    if not 2 <= len(distinct) <= len(column) // ROWS_PER_VALUE:
        return None
    if len(distinct) == len(set(codes.tolist())):
        return "has one value for each value of the target"
    return "determines the target: rows with the same value have the same target"


def _monotone(column: pd.Series, numbers: pd.Series, decimal: str | None) -> str | None:
    """Why a column that orders the rows as the target does, or the other way round, gives it away."""
    import numpy as np

    values = _numbers(column, decimal)
    if values is None or values.nunique() < LEAST_ROWS // 2:
        return None
    order, ranks = values.rank(), numbers.rank()
    if (order == ranks).all() or (order == len(column) + 1 - ranks).all():
        return "orders the rows exactly as the target does"
    # Rounded, or the target is: equal values may have different ones in the other column.
    for signed in (order, -order):
        if signed.iloc[np.lexsort((signed, ranks))].is_monotonic_increasing:
            return "orders the rows as the target does, except those with equal values"
    return None


def _numbers(texts: pd.Series, decimal: str | None) -> pd.Series | None:
    """The numbers that `texts` write; `None` if a text is no number."""
    import pandas as pd

    try:
        written = read_numbers(texts.unique(), decimal)
    except WrittenNumberError:
        return None
    return pd.Series([written.value[text] for text in texts], index=texts.index)
