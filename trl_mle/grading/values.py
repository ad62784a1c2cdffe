"""Ids and labels as values: a CSV file holds text, and one value has many spellings.

pandas writes a column of integers as floats if one value was missing at some time, reads `007` as 7, and writes truth values as
`True`. So ids and labels that are all numbers are compared by value, and labels that are all truth values by truth.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal
from enum import Enum

NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
"""What CSV writers mean by a number. `float` also takes `1_000`, `nan` and digits of other scripts."""
MAX_DIGITS = 64
"""Longest number that is compared by value, in characters."""
EXACT = 2**53
"""Integers below it are exact as floats. A larger one with a point may have been rounded to that of another row."""
MISSING_WORDS = frozenset(
    [
        "#N/A",
        "#N/A N/A",
        "#NA",
        "-1.#IND",
        "-1.#QNAN",
        "-NaN",
        "-nan",
        "1.#IND",
        "1.#QNAN",
        "<NA>",
        "N/A",
        "NA",
        "NULL",
        "NaN",
        "None",
        "n/a",
        "nan",
        "null",
    ]
)
"""Words that pandas' `read_csv` takes for a missing value unless it is told not to."""
TRUTH = {"true": "True", "false": "False", "1": "True", "0": "False", "1.0": "True", "0.0": "False"}

TRUTH_AS_NUMBER = {"true": "1", "false": "0"}
"""A comparison such as `p > 0.5` gives truth values where the labels are 0 and 1, or where a probability is asked for."""


class Kind(Enum):
    """What the ids or labels of a task are, all of them."""

    INTEGER = "integer"
    NUMBER = "number"
    TRUTH_VALUE = "truth value"
    TEXT = "text"


def kind_of(texts: Iterable[str], distinct: bool = True) -> Kind:
    """The narrowest kind of `texts`.

    Args:
        texts (iterable of `str`):
            All ids, or all labels.
        distinct (`bool`, *optional*, defaults to `True`):
            Whether different texts must be different values. If so, numbers of which two are the same value, such as `7` and
            `07`, are texts.
    """
    texts = list(dict.fromkeys(text.strip() for text in texts))
    values = [number_of(text) for text in texts]
    if texts and None not in values:
        if distinct and len(set(values)) < len(values):
            return Kind.TEXT
        return Kind.INTEGER if all(value == value.to_integral_value() for value in values if value) else Kind.NUMBER
    if texts and {text.lower() for text in texts} <= {"true", "false"}:
        return Kind.TRUTH_VALUE
    return Kind.TEXT


def number_of(text: str) -> Decimal | None:
    """The number that `text` writes, or `None` if it is none or not exact."""
    text = text.strip()
    if len(text) > MAX_DIGITS or not NUMBER.fullmatch(text):
        return None
    value = Decimal(text)
    is_integer_text = text.lstrip("+-").isdigit()
    return value if is_integer_text or abs(value) < EXACT else None


def canonical(text: str, kind: Kind) -> str | None:
    """The form in which ids and labels are compared, or `None` if `text` is empty or of another kind."""
    text = text.strip()
    if kind is Kind.TEXT:
        return text or None
    if kind is Kind.TRUTH_VALUE:
        return TRUTH.get(text.lower())
    value = number_of(text)
    if value is None or (kind is Kind.INTEGER and value != value.to_integral_value()):
        return None
    if value == value.to_integral_value():
        return str(int(value)) if value.adjusted() <= MAX_DIGITS else None
    # Not `normalize`, which rounds to the digits of the decimal context: two ids could become one.
    return format(value, "f").rstrip("0")
