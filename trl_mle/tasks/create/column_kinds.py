"""What each column of a user's table holds, found in its text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING

from trl_mle.grading.values import Kind, canonical
from trl_mle.tasks.create.dates import read_dates
from trl_mle.tasks.target_column import MISSING_MARKS, MISSING_WORDS
from trl_mle.tasks.written_numbers import WrittenNumberError, read_numbers

if TYPE_CHECKING:
    import pandas as pd

FEW_NUMBERS = 20
"""Whole numbers with at most so many values may be codes of classes."""
MOST_CATEGORIES = 200
"""Distinct texts beyond which a column is free text."""
_ID_WORDS = frozenset(("id", "uuid", "guid", "identifier"))
_ID_NAMES = frozenset(
    ("index", "idx", "key", "row", "rowname", "rownames", "rownum", "rownumber", "rowid", "no", "nr")
)


_LIKE_A_NUMBER = re.compile(r"[^\w,.]{0,3}(\d[\d., ]*|inf)[^\w,.]{0,3}", re.IGNORECASE)


class ColumnKind(StrEnum):
    """Kinds of columns."""

    EMPTY = "empty"
    CONSTANT = "constant"
    WHOLE = "whole numbers"
    NUMBER = "numbers"
    DATE = "dates"
    CATEGORY = "categories"
    TEXT = "text"


@dataclass(frozen=True)
class Column:
    """A column of the table."""

    name: str
    kind: ColumnKind
    distinct: int
    """Number of different values, without missing ones."""
    missing: int
    """Rows without a value."""
    rows: int
    example: str
    """A value as it is written."""
    id_name: bool
    """Whether the name is one that ids have."""
    no_number: str = ""
    """Why a column in which most texts look like numbers is none of numbers."""
    counts_rows: bool = False
    """Whether each row has a whole number of its own, and these have equal steps, as a row number has."""

    @property
    def is_unique(self) -> bool:
        """Whether each row has a value of its own."""
        return self.distinct == self.rows

    @property
    def has_odd_texts(self) -> bool:
        """Whether the column seems to hold numbers and a few other texts, such as a unit or a sum, and no classes."""
        return self.no_number != "" and self.distinct > FEW_NUMBERS

    @property
    def is_row_id(self) -> bool:
        """Whether the column numbers or names the rows: by its name, and with another value in each row that has one."""
        unique = self.distinct + self.missing == self.rows and self.missing <= self.rows // 2
        return self.id_name and unique and self.kind in (ColumnKind.WHOLE, ColumnKind.CATEGORY, ColumnKind.TEXT)


def describe_columns(frame: pd.DataFrame, decimal: str | None = None) -> dict[str, Column]:
    """Name -> [`Column`] for each column of the texts `frame` (N rows)."""
    return {str(name): describe_column(frame[name], decimal) for name in frame.columns}


def describe_column(texts: pd.Series, decimal: str | None = None) -> Column:
    """What the texts of one column are."""
    counts = texts.str.strip().value_counts()
    present = counts.index[~counts.index.isin(MISSING_WORDS | {""})].tolist()
    distinct = [text for text in present if text not in MISSING_MARKS]
    # Among texts, a mark may be a class, such as the `-` beside `+`. It is one where it would leave a single class.
    if len(distinct) < 2 and not any(_LIKE_A_NUMBER.fullmatch(text) for text in distinct) and len(present) > 1:
        distinct = present
    missing = len(texts) - int(counts[distinct].sum())
    name = str(texts.name)
    example = distinct[0] if distinct else ""
    kind, no_number = _kind(texts, distinct, missing, decimal)
    counts_rows = kind is ColumnKind.WHOLE and len(distinct) == len(texts) and _has_equal_steps(distinct)
    return Column(name, kind, len(distinct), missing, len(texts), example, has_id_name(name), no_number, counts_rows)


def words_of(name: str) -> list[str]:
    """The words of a column's name in small letters: `PassengerId` and `passenger_id` have the same."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_A-Za-z]+|\d+", name)]


def has_id_name(name: str) -> bool:
    """Whether `name` is one that ids have, such as `id`, `PassengerId`, `patient_id` or `index`."""
    words = words_of(name)
    return bool(words) and (words[-1] in _ID_WORDS or "".join(words) in _ID_NAMES)


def _has_equal_steps(whole: list[str]) -> bool:
    numbers = sorted(int(str(canonical(text, Kind.INTEGER))) for text in whole)
    return len({following - number for number, following in pairwise(numbers)}) == 1


def _kind(texts: pd.Series, distinct: list[str], missing: int, decimal: str | None) -> tuple[ColumnKind, str]:
    """The kind, and `Column.no_number`."""
    if not distinct:
        return ColumnKind.EMPTY, ""
    if len(distinct) == 1 and not missing:
        return ColumnKind.CONSTANT, ""
    if all(canonical(text, Kind.INTEGER) is not None for text in distinct):
        return ColumnKind.WHOLE, ""
    try:
        read_numbers(distinct, decimal)
        return ColumnKind.NUMBER, ""
    except WrittenNumberError as error:
        reason = error.reason
    if read_dates(texts) is not None:
        return ColumnKind.DATE, ""
    numbers = sum(_LIKE_A_NUMBER.fullmatch(text) is not None for text in distinct)
    if numbers < 0.9 * len(distinct):
        reason = ""
    few = len(distinct) <= MOST_CATEGORIES and len(distinct) <= max(20, len(texts) // 2)
    return (ColumnKind.CATEGORY if few else ColumnKind.TEXT), reason
