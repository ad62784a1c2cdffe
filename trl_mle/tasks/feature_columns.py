"""The features of a user's table: they stay as they are written, except decimal commas."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from trl_mle.tasks.target_column import MISSING_MARKS, MISSING_WORDS
from trl_mle.tasks.written_numbers import COMMA, POINT, is_written_number

if TYPE_CHECKING:
    import pandas as pd

_FRACTION = re.compile(r"[+-]?\d*,(\d{1,2}|\d{4,})", re.ASCII)


def decimal_mark(frame: pd.DataFrame, separator: str, decimal: str | None) -> str | None:
    """The decimal mark of a table: `decimal`, or the comma if the separator leaves room for it and a column shows it.

    A column shows it if each of its values is a number with a decimal comma, and one of them cannot have thousands.
    """
    if decimal is not None or separator == ",":
        return decimal
    for name in frame.columns:
        texts = _present(frame[name])
        if (
            len(texts)
            and any(map(_FRACTION.fullmatch, texts))
            and all(is_written_number(text, COMMA) for text in texts)
        ):
            return COMMA
    return None


def read_features(frame: pd.DataFrame, decimal: str | None, named: bool) -> tuple[pd.DataFrame, list[str]]:
    """Write decimal commas as points.

    Args:
        frame (`DataFrame`):
            Texts.
        decimal (`str`):
            Decimal mark of the table.
        named (`bool`):
            Whether the user named the mark. A mark that was found changes only columns in which it occurs.

    Returns:
        `(DataFrame, list[str])`: the features, and what was changed in sentences.
    """
    notes: list[str] = []
    if decimal == COMMA:
        changed = []
        for name in frame.columns:
            texts = _present(frame[name])
            numbers = len(texts) and all(is_written_number(text, COMMA) for text in texts)
            marked = any(COMMA in text or (named and POINT in text) for text in texts)
            if numbers and marked:
                new = {text: re.sub(r"[.'\u2019 ]", "", text).replace(COMMA, POINT) for text in texts}
                stripped = frame[name].str.strip()
                frame = frame.assign(**{name: stripped.map(lambda text, new=new: new.get(text, text))})
                changed.append(name)
        if changed:
            notes.append(
                f"Numbers with a decimal comma are written with a point in {_list(changed)} (`--decimal` decides otherwise)."
            )
    return frame, notes


def missing_words(frame: pd.DataFrame) -> dict[str, list[str]]:
    """Words beside the empty cell that pandas will take for missing values, by the column of text in which they occur."""
    found = {}
    for name in frame.columns:
        distinct = {text.strip() for text in frame[name].unique()}
        words = sorted(distinct & MISSING_WORDS)
        others = distinct - MISSING_WORDS - MISSING_MARKS - {""}
        if words and not all(is_written_number(text, POINT) for text in others):
            found[name] = words
    return found


def _present(values: pd.Series) -> list[str]:
    distinct = {text.strip() for text in values.unique()}
    return sorted(distinct - MISSING_WORDS - MISSING_MARKS - {""})


def _list(names: list[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more columns" if len(names) > 5 else "")
