"""Which metric fits a target, or a question where a number may be a class."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trl_mle.errors import TaskError
from trl_mle.tasks.create.column_kinds import FEW_NUMBERS, Column, ColumnKind, words_of
from trl_mle.tasks.create.questions import Choice, Question
from trl_mle.tasks.target_column import MISSING_MARKS, MISSING_WORDS
from trl_mle.tasks.written_numbers import WrittenNumberError, read_numbers

if TYPE_CHECKING:
    import pandas as pd

EVEN_SHARE = 0.6
"""Largest share of a class with which accuracy says enough."""
WIDE = 100.0
"""Largest value over the median from which on errors count relative to the value (RMSLE)."""
_CLASS_WORDS = frozenset(("class", "label", "species", "category", "type", "kind", "digit", "code", "group"))


def guess_metric(
    column: Column, texts: pd.Series, decimal: str | None = None, keep_missing_words: bool = False
) -> tuple[str, str] | Question:
    """The metric for one target and the reason, or a question. Words such as `None` are classes if they are kept.

    Raises:
        TaskError: the column cannot be predicted.
    """
    name = column.name
    if column.kind in (ColumnKind.EMPTY, ColumnKind.CONSTANT):
        raise TaskError(f"column {name!r} has the same value in each row or none; choose another target (`--target`).")
    if column.kind is ColumnKind.DATE:
        raise TaskError(
            f"column {name!r} holds dates such as {column.example!r}. A date is predicted as a number: write it as days since a "
            "first day, then use `--metric mae`."
        )
    if column.has_odd_texts:
        raise TaskError(
            f"column {name!r} seems to hold numbers, but {column.no_number}. Correct or remove such rows, or write "
            "`--metric accuracy` if these are classes."
        )
    if column.kind is ColumnKind.TEXT:
        raise TaskError(
            f"column {name!r} holds {column.distinct} different texts such as {column.example[:60]!r}, too many for classes. "
            "Choose another target (`--target`), or merge the texts into classes."
        )
    if column.kind is ColumnKind.NUMBER or (column.kind is ColumnKind.WHOLE and column.distinct > FEW_NUMBERS):
        return _of_numbers(texts, decimal)
    if column.kind is ColumnKind.WHOLE and column.distinct > 2 and _CLASS_WORDS.isdisjoint(words_of(name)):
        return Question(
            f"Column {name!r} holds {column.distinct} different whole numbers.",
            (
                Choice("they are classes", "--metric accuracy", {"metric": "accuracy"}),
                Choice(
                    "they are numbers, and a near miss is better than a far one", "--metric rmse", {"metric": "rmse"}
                ),
            ),
        )
    return _of_classes(texts, keep_missing_words)


def _of_classes(texts: pd.Series, keep_missing_words: bool) -> tuple[str, str]:
    stripped = texts.str.strip()
    counts = stripped[stripped != ""].value_counts()
    named = counts[~counts.index.isin(MISSING_WORDS)]
    if len(named) > 1 and not keep_missing_words:
        counts = named
    if len(counts) == 2:
        return "roc_auc", "two classes"
    if counts.iloc[0] > EVEN_SHARE * counts.sum():
        return "f1_macro", f"{len(counts)} classes, of which one has {counts.iloc[0] / counts.sum():.0%} of the rows"
    return "accuracy", f"{len(counts)} classes"


def _of_numbers(texts: pd.Series, decimal: str | None) -> tuple[str, str]:
    import numpy as np

    stripped = texts.str.strip()
    present = stripped[(stripped != "") & ~stripped.isin(MISSING_WORDS | MISSING_MARKS)]
    try:
        written = read_numbers(present.unique(), decimal)
    except WrittenNumberError:  # said where the target is read
        return "rmse", "numbers"
    values = np.array([written.value[text] for text in present], dtype=np.float64)
    middle = float(np.median(values))
    if values.min() >= 0 and middle > 0 and values.max() >= WIDE * middle:
        return "rmsle", f"numbers from 0 on, the largest {values.max() / middle:.0f} times the median"
    return "rmse", "numbers"
