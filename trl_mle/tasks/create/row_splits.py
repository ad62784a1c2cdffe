"""Which rows become test rows, and which of them are public: at random, by group, or by time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trl_mle.errors import TaskError
from trl_mle.grading.values import MISSING_WORDS, Kind, canonical
from trl_mle.tasks.column_names import clean_name
from trl_mle.tasks.create.dates import read_dates
from trl_mle.tasks.splits import STRATA, stratified_mask
from trl_mle.tasks.target_column import MISSING_MARKS
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

    def keys(self, texts: pd.Series, decimal: str | None = None) -> pd.Series:
        """(N,) values of the split's column by which rows are grouped or ordered.

        Args:
            texts (`Series`):
                (N,) texts of the column.
            decimal (`str`, *optional*):
                Decimal mark of times that are numbers. Without it, the values decide.

        Raises:
            TaskError: a value is missing, or the column has no order in time.
        """
        stripped = texts.str.strip()
        # Among groups, a mark such as `?` is a name.
        marks = MISSING_MARKS if self.kind == "time" else frozenset()
        missing = stripped.isin(MISSING_WORDS | marks | {""})
        if missing.any():
            raise TaskError(
                f"{int(missing.sum())} rows have no value in column {texts.name!r} of `--split {self}`, the first in line "
                f"{texts.index[missing][0]}. Fill them in, or choose another split."
            )
        if self.kind == "time":
            return times(texts, decimal)
        # `1` and `1.0` are one group, as programs read them.
        return stripped.map({text: str(canonical(text, Kind.INTEGER) or text) for text in stripped.unique()})

    def mask(
        self, keys: pd.Series | None, target: pd.Series, share: float, seed: int, numeric: bool, least: int = 1
    ) -> np.ndarray:
        """(N,) booleans: the rows of the second part, about `share` of them.

        Args:
            keys (`Series`):
                (N,) values of `keys`; `None` for a random split.
            target (`Series`):
                (N,) labels or numbers.
            numeric (`bool`):
                Whether `target` holds numbers.
            least (`int`, *optional*, defaults to `1`):
                Fewest groups or times in the second part: 2 if it is to be divided again.

        Raises:
            TaskError: the rows have too few groups or times.
        """
        if keys is None:
            return stratified_mask(target, share, seed, numeric)
        if self.kind == "time":
            return _later(keys, share, self, least)
        return _of_some_groups(keys, target, share, seed, numeric, self, least)


def times(texts: pd.Series, decimal: str | None = None) -> pd.Series:
    """(N,) numbers or ISO 8601 texts in the order of time.

    Args:
        texts (`Series`):
            (N,) texts.
        decimal (`str`, *optional*):
            Decimal mark of numbers. Without it, the values decide.

    Raises:
        TaskError: the column holds neither dates of one form nor numbers.
    """
    import pandas as pd

    stripped = texts.str.strip()
    try:
        written = read_numbers(stripped.unique(), decimal)
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


def _later(keys: pd.Series, share: float, split: RowSplit, least: int) -> np.ndarray:
    import numpy as np
    import pandas as pd

    ranks, distinct = pd.factorize(keys, sort=True)
    _check_distinct(len(distinct), "times", split, least)
    # Number of rows from each time on. The cut nearest to the wanted number that leaves rows on both sides.
    later = np.bincount(ranks)[::-1].cumsum()[::-1]
    cut = 1 + int(np.argmin(np.abs(later[1 : len(distinct) - least + 1] - share * len(keys))))
    return ranks >= cut


def _check_distinct(distinct: int, what: str, split: RowSplit, least: int) -> None:
    if distinct <= least:
        parts = "train, public and private rows" if least > 1 else "two parts"
        raise TaskError(
            f"`--split {split}` leaves a part empty: the rows have {distinct} different {what}, and {parts} need at least "
            f"{least + 1}. Choose another column."
        )


def _of_some_groups(
    keys: pd.Series, target: pd.Series, share: float, seed: int, numeric: bool, split: RowSplit, least: int
) -> np.ndarray:
    import numpy as np
    import pandas as pd

    groups, distinct = pd.factorize(keys)
    _check_distinct(len(distinct), "groups", split, least)
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
        many = least + int(np.argmin(np.abs(rows[least - 1 : -1] - wanted.sum())))
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
