"""The target of a user's table: missing values, numbers written as text, and classes as programs will read them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trl_mle.errors import TaskError
from trl_mle.grading import Metric
from trl_mle.grading.values import MISSING_WORDS, Kind, canonical, number_of
from trl_mle.tasks.column_names import clean_name
from trl_mle.tasks.written_numbers import WrittenNumberError, read_numbers

if TYPE_CHECKING:
    import pandas as pd

MAX_CLASSES = 200
"""Most classes of a target. A column with more distinct values is probably a number with the wrong metric."""
MISSING_MARKS = frozenset(("?", "-", "--", ".", "..", "*"))
"""What stands for a missing number in some tables. Among classes, these are names."""
_READ_AS_NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf(inity)?"
_TRUE_AND_FALSE = {"true": "True", "false": "False"}
_SHOWN = 60


@dataclass(frozen=True)
class TargetColumn:
    """A target that can be learnt and graded."""

    values: pd.Series
    """(M,) numbers, whole numbers or texts of the rows that have a target. Index: line of the file."""
    notes: tuple[str, ...]
    """What was decided, in sentences."""


@dataclass(frozen=True)
class TargetOptions:
    """How to read the target."""

    decimal: str | None = None
    """Decimal mark; without it, the values decide."""
    drop_missing: bool = False
    """Whether rows without a target are left out."""
    keep_missing_words: bool = False
    """Whether words such as `None` are classes."""


def read_target(values: pd.Series, metric: Metric, source: str, options: TargetOptions) -> TargetColumn:
    """Clean the target.

    Args:
        values (`Series`):
            (N,) texts. Name: the column. Index: the line of each row.
        metric (`Metric`):
            Decides between numbers and classes.
        source (`str`):
            The file, for messages.

    Raises:
        TaskError: the column cannot be used with this metric; the message names the column, the line, the value and the fix.
    """
    texts = values.str.strip() if metric.predicts == "number" else values.map(clean_name)
    where = f"column {values.name!r} of {source}"
    texts, notes = _without_missing(texts, metric, where, options)
    if metric.predicts == "number":
        target = _numbers(texts, metric, where, options.decimal, notes)
    elif metric.predicts == "text":
        target = texts
    else:
        target = _classes(texts, metric, where, options, notes)
    if target.nunique() < 2:
        raise TaskError(f"{where} has the same value in each row ({texts.iloc[0]!r}); there is nothing to learn.")
    return TargetColumn(target, tuple(notes))


def is_missing(texts: pd.Series, metric: Metric) -> pd.Series:
    """(N,) booleans: cells that are empty, or hold a mark that no number can be."""
    marks = MISSING_WORDS | MISSING_MARKS if metric.predicts == "number" else frozenset()
    return (texts == "") | texts.isin(marks)


def _without_missing(
    texts: pd.Series, metric: Metric, where: str, options: TargetOptions
) -> tuple[pd.Series, list[str]]:
    missing = is_missing(texts, metric)
    words = texts.isin(MISSING_WORDS) & ~missing
    if words.any() and not options.keep_missing_words:
        if not options.drop_missing:
            raise TaskError(_ambiguous(texts, words, missing, where))
        missing |= words
    if missing.all():
        raise TaskError(f"no row of {where} has a value; choose another target.")
    notes = []
    if missing.any():
        first = texts[missing]
        if not options.drop_missing:
            held = f"holds {first.iloc[0]!r}" if first.iloc[0] else "is empty"
            raise TaskError(
                f"{len(first)} of {len(texts)} rows have no value in {where}: line {first.index[0]} {held}. Write "
                f"`--drop-missing-targets` to leave these rows out, or fill them in."
            )
        notes.append(f"{len(first)} of {len(texts)} rows have no target and are left out.")
    return texts[~missing], notes


def _ambiguous(texts: pd.Series, words: pd.Series, missing: pd.Series, where: str) -> str:
    shown = ", ".join(map(repr, sorted(set(texts[words])))) + (" or nothing" if missing.any() else "")
    either = missing | words
    return (
        f"{int(either.sum())} of {len(texts)} rows of {where} hold {shown} (first in line {texts.index[either][0]}). pandas "
        f"takes such words for missing values. Write `--keep-missing-words` if they are classes (they get an underscore, as in "
        f"`None_`), or `--drop-missing-targets` to leave these rows out."
    )


def _numbers(texts: pd.Series, metric: Metric, where: str, decimal: str | None, notes: list[str]) -> pd.Series:
    import pandas as pd

    try:
        written = read_numbers(texts, decimal)
    except WrittenNumberError as error:
        line = texts.index[texts == error.text][0]
        raise TaskError(_no_number(texts, metric, where, line, error)) from error
    values = pd.Series([written.value[text] for text in texts], index=texts.index, name=texts.name)
    if written.note:
        notes.append(f"The target {texts.name!r} holds numbers written as text: {written.note}.")
    if metric.minimum is not None and values.min() < metric.minimum:
        raise TaskError(
            f"{metric.name} needs numbers of at least {metric.minimum:g}; the least is {values.min()} in line "
            f"{values.idxmin()} of {where}. Try rmse."
        )
    return values


def _no_number(texts: pd.Series, metric: Metric, where: str, line: int, error: WrittenNumberError) -> str:
    distinct = texts.nunique()
    start = f"{metric.name} needs numbers, but {where} holds {_short(error.text)} in line {line}"
    if re.fullmatch(r"[+-]?inf(inity)?", error.text, re.IGNORECASE):
        return f"{metric.name} needs finite numbers, but {where} holds {error.text!r} in line {line}; remove or correct this row."
    if "--decimal" in error.reason or "units" in error.reason or "large" in error.reason:
        return f"{start}: {error.reason}."
    if re.match(r"\d{1,4}[-./]\d{1,2}[-./]\d{1,4}|\d{1,2}:\d{2}", error.text):
        return f"{start}, a date or a time; write it as a number first, for example of days."
    if distinct <= MAX_CLASSES:
        return f"{start}; try accuracy if these are classes, or correct the value."
    return (
        f"{start}; correct the value, or choose another target: {distinct} different values are too many for classes."
    )


def _classes(texts: pd.Series, metric: Metric, where: str, options: TargetOptions, notes: list[str]) -> pd.Series:
    distinct = list(texts.unique())
    if len(distinct) > MAX_CLASSES:
        raise TaskError(
            f"{where} has {len(distinct)} different values, too many for the classes of {metric.name} (at most "
            f"{MAX_CLASSES}); {_instead_of_classes(texts, options.decimal)}"
        )
    # Whole numbers in a column of floats are class codes: a table may have been written after a value was missing.
    codes = {text: canonical(text, Kind.INTEGER) for text in distinct}
    if None not in codes.values():
        _check_spellings({text: str(code) for text, code in codes.items()}, texts, where, notes)
        return texts.map({text: int(str(code)) for text, code in codes.items()})
    # As pandas does, which takes digits of other scripts for text.
    if all(re.fullmatch(_READ_AS_NUMBER, text, re.IGNORECASE | re.ASCII) for text in distinct):
        odd = next(text for text in distinct if codes[text] is None)
        if "inf" in odd.lower():
            raise TaskError(
                f"{where} holds {odd!r} in line {texts.index[texts == odd][0]}; remove or correct this row."
            )
        what = "fractions" if number_of(odd) is not None else "numbers that are too large for codes of classes"
        raise TaskError(
            f"{metric.name} needs classes, but {where} holds {what} ({odd!r} in line {texts.index[texts == odd][0]}); try rmse."
        )
    new = _safe_labels(distinct, notes)
    if len(distinct) > 20 and _are_numbers(texts, options.decimal):
        notes.append(
            f"The {len(distinct)} classes look like numbers, such as {distinct[0]!r}. For a number, choose rmse."
        )
    return texts.map(new)


def _check_spellings(codes: dict[str, str], texts: pd.Series, where: str, notes: list[str]) -> None:
    """Name labels such as `007` and `1e5`, which programs read as 7 and 100000.

    Raises:
        TaskError: another label is read as that number, too.
    """
    padded = [text for text in codes if re.match(r"[+-]?0\d|.*e", text, re.IGNORECASE)]
    for text in padded:
        other = next((each for each in codes if each != text and codes[each] == codes[text]), None)
        if other is not None:
            raise TaskError(
                f"{where} holds {text!r} in line {texts.index[texts == text][0]} and {other!r} in line "
                f"{texts.index[texts == other][0]}, which programs read as one number, {codes[text]}. Make them texts, such as "
                f"{'c' + text!r}, or one label."
            )
    if padded:
        notes.append(
            f"Labels such as {padded[0]!r} are written as whole numbers ({codes[padded[0]]}), as programs read them."
        )


def _instead_of_classes(texts: pd.Series, decimal: str | None) -> str:
    if _are_numbers(texts, decimal):
        return "they are numbers, so try rmse."
    return f"such as {_short(texts.iloc[0])}. Choose another target, or merge classes."


def _are_numbers(texts: pd.Series, decimal: str | None) -> bool:
    try:
        read_numbers(texts, decimal)
    except WrittenNumberError:
        return False
    return True


def _safe_labels(distinct: list[str], notes: list[str]) -> dict[str, str]:
    """The label of each class as `pandas.read_csv` will read it: no missing words, and booleans in the form that pandas writes."""
    if {text.lower() for text in distinct} <= set(_TRUE_AND_FALSE):
        return {text: _TRUE_AND_FALSE[text.lower()] for text in distinct}
    labels: dict[str, str] = {}
    for text in distinct:
        label = text
        if text in MISSING_WORDS:
            while label in MISSING_WORDS or label in distinct:
                label += "_"
            notes.append(f"The class {text!r} is called {label!r}, because pandas reads {text!r} as a missing value.")
        labels[text] = label
    return labels


def _short(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")
