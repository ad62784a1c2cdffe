"""Which rows become test rows, and which of them are public: at random, by group, or by time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trl_mle.errors import TaskError
from trl_mle.tasks.column_names import clean_name
from trl_mle.tasks.create.dates import read_dates
from trl_mle.tasks.splits import STRATA, stratified_mask
from trl_mle.tasks.target_column import MISSING_WORDS
from trl_mle.tasks.written_numbers import WrittenNumberError, read_numbers

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

KINDS = ("random", "group", "time")
_DRAWS = 50
"""Random orders of the groups that are tried. The one with the most even parts is taken."""
_MOST_CELLS = 2e7


@dataclass(frozen=True)
class RowSplit:
    """How rows are divided.

    - `random`: stratified by class, or by quantiles of a number.
    - `group`: all rows with the same value of `column` are in the same part, so that test rows are of new groups.
    - `time`: test rows are the latest by `column`. Of these, the public rows are the earlier ones, because a policy's programs
      are chosen by them: the private score then shows what such a choice is worth later. Rows of the same time stay together.
    """

    kind: str = "random"
    column: str | None = None

    @classmethod
    def parse(cls, text: str) -> RowSplit:
        """From `random`, `group:COLUMN` or `time:COLUMN`.

        Raises:
            TaskError: `text` has another form.
        """
        kind, colon, column = text.partition(":") if isinstance(text, str) else ("", "", "")
        column = clean_name(column)
        if kind not in KINDS or (kind == "random") == bool(colon) or (colon and not column):
            raise TaskError(f"split is {text!r} (`--split`); write random, group:COLUMN or time:COLUMN.")
        return cls(kind, column or None)

    def __str__(self) -> str:
        return self.kind if self.column is None else f"{self.kind}:{self.column}"

    def keys(self, texts: pd.Series) -> pd.Series:
        """(N,) values of the split's column by which rows are grouped or ordered.

        Raises:
            TaskError: a value is missing, or the column has no order in time.
        """
        stripped = texts.str.strip()
        missing = stripped.isin(MISSING_WORDS | {""})
        if missing.any():
            raise TaskError(
                f"{int(missing.sum())} rows have no value in column {texts.name!r} of `--split {self}`, the first in line "
                f"{texts.index[missing][0]}. Fill them in, or choose another split."
            )
        return stripped if self.kind == "group" else times(texts)

    def mask(self, keys: pd.Series | None, target: pd.Series, share: float, seed: int, numeric: bool) -> np.ndarray:
        """(N,) booleans: the rows of the second part, about `share` of them.

        Args:
            keys (`Series`):
                (N,) values of `keys`; `None` for a random split.
            target (`Series`):
                (N,) labels or numbers.
            numeric (`bool`):
                Whether `target` holds numbers.

        Raises:
            TaskError: a part would be empty.
        """
        if keys is None:
            return stratified_mask(target, share, seed, numeric)
        if self.kind == "time":
            return _later(keys, share, self)
        return _of_some_groups(keys, target, share, seed, numeric, self)


def times(texts: pd.Series) -> pd.Series:
    """(N,) numbers or ISO 8601 texts in the order of time.

    Raises:
        TaskError: the column holds neither dates of one form nor numbers.
    """
    import pandas as pd

    stripped = texts.str.strip()
    try:
        written = read_numbers(stripped.unique())
        return pd.Series([written.value[text] for text in stripped], index=texts.index, name=texts.name)
    except WrittenNumberError:
        dates = read_dates(texts)
    if dates is None:
        raise TaskError(
            f"column {texts.name!r} of `--split time:{texts.name}` holds {stripped.iloc[0]!r}. A split by time needs numbers, or "
            "dates in one form such as 2024-03-31."
        )
    if dates.ambiguous:
        raise TaskError(
            f"column {texts.name!r} holds dates such as {stripped.iloc[0]!r}, which may have the day or the month first. Write "
            "them as 2024-03-31 before they are split by time."
        )
    return dates.iso


def _later(keys: pd.Series, share: float, split: RowSplit) -> np.ndarray:
    import numpy as np
    import pandas as pd

    ranks, distinct = pd.factorize(keys, sort=True)
    if len(distinct) < 2:
        raise TaskError(f"`--split {split}` leaves a part empty: the rows have one time, {distinct[0]!r}.")
    # Number of rows from each time on. The cut nearest to the wanted number that leaves rows on both sides.
    later = np.bincount(ranks)[::-1].cumsum()[::-1]
    cut = 1 + int(np.argmin(np.abs(later[1:] - share * len(keys))))
    return ranks >= cut


def _of_some_groups(
    keys: pd.Series, target: pd.Series, share: float, seed: int, numeric: bool, split: RowSplit
) -> np.ndarray:
    import numpy as np
    import pandas as pd

    groups, distinct = pd.factorize(keys)
    if len(distinct) < 2:
        raise TaskError(f"`--split {split}` leaves a part empty: the rows have one group, {distinct[0]!r}.")
    rng = np.random.default_rng(seed)
    strata = _strata(target, numeric)
    counts = np.zeros((len(distinct), strata.max() + 1))
    np.add.at(counts, (groups, strata), 1)
    wanted = share * counts.sum(axis=0)
    best, chosen = np.inf, np.zeros(len(distinct), dtype=bool)
    for _ in range(int(max(1, min(_DRAWS, _MOST_CELLS // counts.size)))):
        order = rng.permutation(len(distinct))
        sums = counts[order].cumsum(axis=0)
        rows = sums.sum(axis=1)
        # Of the first groups in this order, as many as come nearest to the wanted number of rows.
        many = 1 + int(np.argmin(np.abs(rows[:-1] - wanted.sum())))
        part = sums[many - 1]
        missing = ((part == 0) | (part == counts.sum(axis=0))).sum()
        off = missing + np.abs(part - wanted).sum() / wanted.sum()
        if off < best:
            best, chosen = off, np.isin(np.arange(len(distinct)), order[:many])
    return chosen[groups]


def _strata(target: pd.Series, numeric: bool) -> np.ndarray:
    import numpy as np

    if not numeric:
        return np.unique(target.to_numpy().astype(str), return_inverse=True)[1]
    ranks = np.argsort(np.argsort(target.to_numpy(), kind="stable"), kind="stable")
    return ranks * min(STRATA, len(target)) // len(target)
