"""Numbers as people write them: `$3,800.00`, `1 234,5`, `45 %`, `(300)`, `1e5 €`, `12 kg`."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

POINT, COMMA = ".", ","
_LONGEST = 500
"""Longest number with what stands around it, in characters."""
_PLAIN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
# A number with what may stand around it. Nothing around it holds a digit, so that dates and times are no numbers.
_PARTS = re.compile(r"([+-]?)([^\d.,+()-]*)([+-]?)([\d.,][\d.,'\u2019 ]*(?:[eE][+-]?\d+)?)(-?)([^\d]*)", re.ASCII)
_EXPONENT = r"([eE][+-]?\d+)?"
# As accountants write a negative number: (300), ($300), $(300), (300) EUR.
_IN_BRACKETS = re.compile(r"([^\d()]*)\(([^()]*)\)([^\d()]*)", re.ASCII)
# Groups of two or three digits: 1,234,567 and the Indian 12,34,567. The last group has three.
_FORMS = {
    POINT: re.compile(
        rf"(\d+|\d{{1,3}}(,\d{{2,3}})*,\d{{3}}|\d{{1,3}}([ '\u2019]\d{{3}})+)?(\.\d*)?{_EXPONENT}", re.ASCII
    ),
    COMMA: re.compile(
        rf"(\d+|\d{{1,3}}(\.\d{{2,3}})*\.\d{{3}}|\d{{1,3}}([ '\u2019]\d{{3}})+)?(,\d*)?{_EXPONENT}", re.ASCII
    ),
}
_CODES = {
    "USD",
    "EUR",
    "GBP",
    "CHF",
    "JPY",
    "CNY",
    "INR",
    "AUD",
    "CAD",
    "SEK",
    "NOK",
    "DKK",
    "PLN",
    "BRL",
    "US$",
    "R$",
}
_DECIMAL_POINT_CURRENCIES = {"$", "US$", "USD", "£", "GBP"}


class WrittenNumberError(ValueError):
    """A text that is no number. `text` is what stands in the table, `reason` says what is wrong with it."""

    def __init__(self, text: str, reason: str):
        super().__init__(reason)
        self.text, self.reason = text, reason


@dataclass(frozen=True)
class WrittenNumbers:
    """The numbers of some texts."""

    value: dict[str, int | float]
    """Number by its text. All are integers of 64 bits, or all are floats."""
    note: str | None
    """How the texts were read, if they are not plain numbers."""


@dataclass(frozen=True)
class _Written:
    negative: bool
    number: str
    affixes: tuple[str, str]


def read_numbers(texts: Iterable[str], decimal: str | None = None) -> WrittenNumbers:
    """Read all `texts`, which must be written in one way.

    Args:
        texts (`Iterable[str]`):
            Texts without surrounding spaces. None is empty.
        decimal (`str`, *optional*):
            Decimal mark, "." or ",". Without it, the texts decide.

    Raises:
        WrittenNumberError: a text is no finite number, or the texts do not decide which mark is the decimal mark.
    """
    distinct = list(dict.fromkeys(texts))
    if decimal != COMMA and all(map(_PLAIN.fullmatch, distinct)):
        return WrittenNumbers(_finite(distinct, distinct), None)
    written = [_take_apart(text) for text in distinct]
    _check_affixes(distinct, written)
    mark = decimal or _decimal_mark(distinct, written)
    group = COMMA if mark == POINT else POINT
    plain = []
    for text, parts in zip(distinct, written, strict=True):
        if not _is_number(parts.number, mark):
            raise WrittenNumberError(text, f"{text!r} is no number with the decimal mark {mark!r}")
        bare = re.sub(r"[ '\u2019]", "", parts.number.replace(group, "")).replace(mark, POINT)
        plain.append("-" * parts.negative + bare)
    return WrittenNumbers(_finite(distinct, plain), _note(distinct, plain))


def is_written_number(text: str, decimal: str) -> bool:
    """Whether `text` is a number with this decimal mark and nothing around it."""
    return _is_number(text.lstrip("+-"), decimal) and len(text) - len(text.lstrip("+-")) <= 1


def _is_number(number: str, mark: str) -> bool:
    return bool(_FORMS[mark].fullmatch(number)) and bool(re.match(r"[.,]?\d", number, re.ASCII))


def _finite(texts: Sequence[str], plain: Sequence[str]) -> dict[str, int | float]:
    if all(map(_INTEGER.fullmatch, plain)) and all(len(number) < 20 for number in plain):
        integers = [int(number) for number in plain]
        if all(-(2**63) <= number < 2**63 for number in integers):
            return dict(zip(texts, integers, strict=True))
    floats = [float(number) for number in plain]
    for text, number in zip(texts, floats, strict=True):
        if not math.isfinite(number):
            raise WrittenNumberError(text, f"{text!r} is too large for a number")
    return dict(zip(texts, floats, strict=True))


def _take_apart(text: str) -> _Written:
    if len(text) > _LONGEST:  # the pattern takes quadratic time
        raise WrittenNumberError(text, f"{text[:20]!r}... is no number")
    bare = re.sub(r"[\u00a0\u2000-\u200a\u202f]", " ", text).replace("\u2212", "-").strip()
    in_brackets = _IN_BRACKETS.fullmatch(bare)
    match = _PARTS.fullmatch("".join(in_brackets.groups()).strip() if in_brackets else bare)
    if match is None:
        raise WrittenNumberError(text, f"{text!r} is no number")
    first, before, second, number, last, after = match.groups()
    signs = [sign for sign in (first, second, last, "-" if in_brackets else "") if sign]
    affixes = (before.strip(), after.strip())
    if len(signs) > 1 or not all(_is_affix(affix, first=at == 0) for at, affix in enumerate(affixes)):
        raise WrittenNumberError(text, f"{text!r} is no number")
    return _Written("-" in signs, number.strip(), affixes)


def _is_affix(affix: str, first: bool) -> bool:
    """Whether `affix` may stand before (`first`) or after a number. Letters before it would be a name such as A12."""
    return (
        not affix
        or _is_currency(affix)
        or (not first and re.fullmatch(r"%|‰|[^\W\d_./%]{1,12}[²³]?", affix) is not None)
    )


def _is_currency(affix: str) -> bool:
    return affix.upper() in _CODES or (len(affix) == 1 and unicodedata.category(affix) == "Sc")


def _check_affixes(texts: Sequence[str], written: Sequence[_Written]) -> None:
    """All numbers have the same currency, unit or percent sign. A currency alone may be left out of some."""
    seen: dict[tuple[str, str], str] = {}
    for text, parts in zip(texts, written, strict=True):
        seen.setdefault(parts.affixes, text)
    marked = [affixes for affixes in seen if any(affixes)]
    if len(seen) < 2 or (len(marked) == 1 and _is_currency("".join(marked[0]))):
        return
    first, other = list(seen.values())[:2]
    raise WrittenNumberError(other, f"{first!r} and {other!r} have different units")


def _decimal_mark(texts: Sequence[str], written: Sequence[_Written]) -> str:
    numbers = [parts.number for parts in written]
    fits = {mark: all(_is_number(number, mark) for number in numbers) for mark in _FORMS}
    if not fits[COMMA]:
        return POINT  # also if neither fits: the caller then names the first text that does not
    if not fits[POINT]:
        return COMMA
    for text, parts in zip(texts, written, strict=True):
        if COMMA in parts.number or POINT in parts.number:
            # Such as 1,234 in each row: thousands in one country, a fraction in another.
            if any(affix.upper() in _DECIMAL_POINT_CURRENCIES for affix in parts.affixes):
                return POINT
            raise WrittenNumberError(
                text,
                f"{text!r} may have thousands or a fraction; write the decimal mark (`--decimal .` or `--decimal ,`)",
            )
    return POINT


def _note(texts: Sequence[str], plain: Sequence[str]) -> str | None:
    changed = [(text, number) for text, number in zip(texts, plain, strict=True) if text != number]
    return f"{changed[0][0]!r} is read as {changed[0][1]}" if changed else None
