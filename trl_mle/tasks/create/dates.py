"""Columns of dates: which form they have, and the same dates as ISO 8601 text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from trl_mle.tasks.target_column import MISSING_MARKS, MISSING_WORDS

if TYPE_CHECKING:
    import pandas as pd

_DAY = ("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y")
_WORDS = ("%d %b %Y", "%d-%b-%Y", "%b %d, %Y", "%d %B %Y", "%B %d, %Y", "%d-%b-%y")
_TIMES = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", "T%H:%M", "T%H:%M:%S", "T%H:%M:%S.%f")
_HALF_DAYS = (" %I:%M %p", " %I:%M:%S %p")
_ZONED = (" %H:%M:%S%z", " %H:%M:%S.%f%z", "T%H:%M%z", "T%H:%M:%S%z", "T%H:%M:%S.%f%z")
FORMATS = tuple(day + time for day in (*_DAY, *_WORDS) for time in (*_TIMES, *_HALF_DAYS, *_ZONED))
"""Forms of dates that are known, with and without a time. A zone is `Z`, or an offset such as `+02:00`."""
# Four digits, or a month in letters: most columns are ruled out by their first value.
_LIKE_A_DATE = re.compile(r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{4}|(\d{1,2}[ -])?[A-Za-z]{3}")
_TRIED = 200
_ZONE = r"Z|[+-]\d\d:?\d\d"
_PADDED = re.compile(rf"\d{{4}}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d+)?)?({_ZONE})?)?")
"""ISO 8601 whose order as text is the order of time, within one zone. `2024-3-1` is not."""


@dataclass(frozen=True)
class Dates:
    """A column of dates."""

    iso: pd.Series
    """(N,) ISO 8601 texts without spaces around them, in UTC if the zones differ. A missing date is the empty text."""
    ambiguous: bool
    """Whether each date can be read with the day first and with the month first, and the two differ. `iso` is as written."""
    changed: bool
    """Whether `iso` differs from what is written between spaces."""


def read_dates(texts: pd.Series) -> Dates | None:
    """The dates of a column of texts; `None` if one of them is no date of a known form, or if the forms differ.

    Args:
        texts (`Series`):
            (N,) texts. Words for missing values stay as they are.
    """
    import pandas as pd

    stripped = texts.str.strip()
    present = stripped[(stripped != "") & ~stripped.isin(MISSING_WORDS | MISSING_MARKS)]
    distinct = pd.Series(present.unique())
    if distinct.empty or not _LIKE_A_DATE.match(str(distinct.iloc[0])):
        return None
    first, some = str(distinct.iloc[0]), distinct.iloc[:_TRIED]
    found = [form for form in FORMATS if _has_form(first, form) and _parsed(some, form) is not None]
    read = {form: dates for form in found if (dates := _parsed(distinct, form)) is not None}
    if not read:
        return None
    form, dates = next(iter(read.items()))
    if any(not other.equals(dates) for other in read.values()):
        return Dates(stripped, ambiguous=True, changed=False)
    one_zone = "%z" not in form or distinct.str.extract(f"({_ZONE})$")[0].nunique() == 1
    if form.startswith("%Y-%m-%d") and one_zone and distinct.str.fullmatch(_PADDED).all():
        return Dates(stripped, ambiguous=False, changed=False)
    has_time = "%M" in form
    shown = dates.dt.strftime("%Y-%m-%d" + " %H:%M:%S" * has_time + ".%f" * ("%f" in form))
    iso = dict(zip(distinct, shown, strict=True))
    return Dates(stripped.map(lambda text: iso.get(text, text)), ambiguous=False, changed=True)


def may_be_date(text: str) -> bool:
    """Whether a text begins as a date in one of the known forms does."""
    return _LIKE_A_DATE.match(text) is not None and re.search(r"\d", text) is not None


def _has_form(text: str, form: str) -> bool:
    try:
        datetime.strptime(text, form)
    except ValueError:
        return False
    return True


def _parsed(texts: pd.Series, form: str) -> pd.Series | None:
    """The dates of `texts` in the form `form`, or `None` if one of them has another form."""
    import pandas as pd

    try:
        return pd.to_datetime(texts, format=form, errors="raise", exact=True, utc="%z" in form).dt.tz_localize(None)
    except (ValueError, OverflowError):  # pandas' errors of dates are ValueErrors
        return None
