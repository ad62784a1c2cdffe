"""Marks: the text by which a running program reports a milestone, and how marks are found in the output and removed.

A mark is one line, `[[trl_mle:<key>:<milestone>]]`. It is written in a single call, so that no other output can come
between its text and its line end. The key is made from the milestone and the nonce, a secret of one run. Text printed
without the right key counts for nothing, and a program that sees one mark knows no other. A named metric is reported as
`[[trl_mle:<key>:<metric>=<value>]]`, with a key of its own.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import re
import secrets

from trl_mle.errors import UserError
from trl_mle.types import MILESTONES, PROGRAM_METRICS, Milestone

MARK_PREFIX = "[[trl_mle:"
"""How every mark begins, whatever its nonce."""
METRIC_SUFFIX = "]]"

_NONCE = re.compile(r"[0-9A-Za-z_-]{16,128}")
_KEY_CHARACTERS = 32
_VALUE = "[-+0-9a-z.]{0,40}"
"""What an inserted report prints: a float, an int, or `none` for any other value."""
_CUT_KEY_CHARACTERS = 8
"""Characters of the key that must be present for the end of cut output to count as a cut mark."""


def new_nonce() -> str:
    """A fresh secret: 128 random bits as 32 hexadecimal digits."""
    return secrets.token_hex(16)


def mark(nonce: str, milestone: str) -> str:
    """The text of a mark, without its line end.

    Raises:
        UserError: `nonce` is not 16 to 128 letters, digits, `_` or `-`, or `milestone` is not one of `MILESTONES`.
    """
    if milestone not in MILESTONES:
        raise UserError(f"{milestone!r} is not a milestone; choose one of {', '.join(MILESTONES)}.")
    return f"{MARK_PREFIX}{_key(nonce, milestone)}:{milestone}]]"


def metric_prefix(nonce: str, metric: str) -> str:
    """The text of a reported metric up to its value. The value and `METRIC_SUFFIX` follow.

    Raises:
        UserError: `nonce` has the wrong form, or `metric` is not one of `PROGRAM_METRICS`.
    """
    if metric not in PROGRAM_METRICS:
        raise UserError(f"{metric!r} is not a metric; choose one of {', '.join(PROGRAM_METRICS)}.")
    return f"{MARK_PREFIX}{_key(nonce, f'metric:{metric}')}:{metric}="


def _key(nonce: str, message: str) -> str:
    if not isinstance(nonce, str) or _NONCE.fullmatch(nonce) is None:
        raise UserError(f"Nonce {nonce!r} is not usable: write 16 to 128 letters, digits, `_` or `-` (`new_nonce()`).")
    return hmac.new(nonce.encode("ascii"), message.encode("ascii"), hashlib.sha256).hexdigest()[:_KEY_CHARACTERS]


def parse_milestones(stdout: str, nonce: str) -> tuple[Milestone, ...]:
    """The milestones whose marks with this nonce are in `stdout`, each once, in the order of `MILESTONES`."""
    seen = set(_pattern(nonce).findall(stdout))
    return tuple(milestone for milestone in MILESTONES if mark(nonce, milestone) in seen)


def parse_metrics(stdout: str, nonce: str) -> tuple[tuple[str, float], ...]:
    """(Name, value) of every metric reported with this nonce, in the order of the output. Only finite values."""
    matches = ((match[1], match[2]) for match in _metric_pattern(nonce).finditer(stdout))
    values = ((prefix[:-1].rpartition(":")[2], _number(text)) for prefix, text in matches)
    return tuple((name, value) for name, value in values if value is not None)


def strip_marks(stdout: str, nonce: str) -> str:
    """`stdout` as the program without marks would have written it.

    If the output was cut in the middle of a mark, that part of the mark is removed as well.
    """
    text = _metric_pattern(nonce).sub("", _pattern(nonce).sub("", stdout))
    start = text.rfind(MARK_PREFIX)
    cut = text[start:] if start >= 0 else ""
    if len(cut) < len(MARK_PREFIX) + _CUT_KEY_CHARACTERS:
        return text
    is_mark = any(mark(nonce, milestone).startswith(cut) for milestone in MILESTONES)
    return text[:start] if is_mark or _is_cut_metric(cut, nonce) else text


def _pattern(nonce: str) -> re.Pattern[str]:
    marks = "|".join(re.escape(mark(nonce, milestone)) for milestone in MILESTONES)
    return re.compile(f"({marks})" + r"(?:\r?\n)?")


def _metric_pattern(nonce: str) -> re.Pattern[str]:
    prefixes = "|".join(re.escape(metric_prefix(nonce, metric)) for metric in PROGRAM_METRICS)
    return re.compile(f"({prefixes})({_VALUE}){re.escape(METRIC_SUFFIX)}" + r"(?:\r?\n)?")


def _is_cut_metric(cut: str, nonce: str) -> bool:
    for metric in PROGRAM_METRICS:
        prefix = metric_prefix(nonce, metric)
        rest = cut.removeprefix(prefix)
        if prefix.startswith(cut) or (rest != cut and re.fullmatch(f"{_VALUE}{re.escape(METRIC_SUFFIX[:1])}?", rest)):
            return True
    return False


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
