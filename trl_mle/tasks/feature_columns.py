"""The features of a user's table: they stay as they are written, except decimal commas."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from trl_mle.grading.values import MISSING_WORDS
from trl_mle.tasks.target_column import MISSING_MARKS
from trl_mle.tasks.written_numbers import COMMA, POINT, is_written_number

if TYPE_CHECKING:
    import pandas as pd

_FRACTION = re.compile(r"[+-]?(\d*,(\d{1,2}|\d{4,})|0,\d+)", re.ASCII)
"""A number with a decimal comma that cannot have thousands."""


def decimal_mark(frame: pd.DataFrame, separator: str, decimal: str | None) -> tuple[str | None, list[str]]:
    """The decimal mark of a table: `decimal`, or the comma if a column shows it. Notes say what was not decided.

    A column shows it if each of its values is a number with a decimal comma, and one of them cannot have thousands. Between
    commas as separators, such values may be pairs as well.
    """
    if decimal is not None:
        return decimal, []
    for name in frame.columns:
        # Most columns are ruled out by their first values, or because no value has a comma.
        first = _present(frame[name].iloc[:1000])
        if not all(is_written_number(text, COMMA) for text in first) or not any(COMMA in text for text in frame[name]):
            continue
        texts = _present(frame[name])
        if any(map(_FRACTION.fullmatch, texts)) and all(is_written_number(text, COMMA) for text in texts):
            if separator != COMMA:
                return COMMA, []
            return None, [
                f"Column {name!r} holds values such as {texts[0]!r}, which programs read as text. Write `--decimal ,` if they are "
                "numbers."
            ]
    return None, []


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
    import pandas as pd

    notes: list[str] = []
    if decimal == COMMA:
        changed: dict[str, pd.Series] = {}
        for name in frame.columns:
            texts = _present(frame[name])
            numbers = len(texts) and all(is_written_number(text, COMMA) for text in texts)
            marked = any(COMMA in text or (named and POINT in text) for text in texts)
            if numbers and marked:
                new = {text: re.sub(r"[.'\u2019 ]", "", text).replace(COMMA, POINT) for text in texts}
                stripped = frame[name].str.strip()
                changed[name] = stripped.map(lambda text, new=new: new.get(text, text))
        if changed:
            # At once: each assignment copies the table, and there may be thousands of columns.
            frame = pd.DataFrame({name: changed.get(name, frame[name]) for name in frame.columns}, index=frame.index)
            notes.append(
                f"Numbers with a decimal comma are written with a point in {_list(list(changed))} (`--decimal` decides otherwise)."
            )
    return frame, notes


def missing_words(frame: pd.DataFrame) -> dict[str, list[str]]:
    """Words beside the empty cell that pandas will take for missing values, by the column of text in which they occur."""
    found = {}
    for name in frame.columns:
        distinct = {text.strip() for text in frame[name].unique()}
        words = sorted(distinct & MISSING_WORDS)
        if not words:
            continue
        others = distinct - MISSING_WORDS - MISSING_MARKS - {""}
        if not all(is_written_number(text, POINT) for text in others):
            found[name] = words
    return found


def _present(values: pd.Series) -> list[str]:
    distinct = {text.strip() for text in values.unique()}
    return sorted(distinct - MISSING_WORDS - MISSING_MARKS - {""})


def _list(names: list[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more columns" if len(names) > 5 else "")
