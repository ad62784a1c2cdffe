"""The marks by which a running program reports a milestone, and how they are found and removed again.

A mark is one line, `[[trl_mle:<nonce>:<milestone>]]`, written in a single call so that no other output can come
between its text and its line end. The nonce is a secret of one run: text printed without it counts for nothing.
"""

from __future__ import annotations

import re
import secrets

from trl_mle.errors import UserError
from trl_mle.types import MILESTONES

MARK_PREFIX = "[[trl_mle:"
"""How every mark begins, whatever its nonce."""

_NONCE = re.compile(r"[0-9A-Za-z_-]{16,128}")
_CUT_NONCE_CHARACTERS = 8
"""Characters of the nonce that must be there before the end of cut output is taken for a cut mark."""


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
    return f"{_opening(nonce)}{milestone}]]"


def parse_milestones(stdout: str, nonce: str) -> tuple[str, ...]:
    """The milestones whose marks with this nonce are in `stdout`, each once, in the order of `MILESTONES`."""
    seen = set(_pattern(nonce).findall(stdout))
    return tuple(milestone for milestone in MILESTONES if milestone in seen)


def strip_marks(stdout: str, nonce: str) -> str:
    """`stdout` as the program without marks would have written it.

    Where the output was cut in the middle of a mark, the part at its end is removed as well.
    """
    text = _pattern(nonce).sub("", stdout)
    opening = _opening(nonce)
    start = text.rfind(opening[: len(MARK_PREFIX) + _CUT_NONCE_CHARACTERS])
    if start >= 0 and any(mark(nonce, milestone).startswith(text[start:]) for milestone in MILESTONES):
        return text[:start]
    return text


def _opening(nonce: str) -> str:
    if not isinstance(nonce, str) or _NONCE.fullmatch(nonce) is None:
        raise UserError(f"Nonce {nonce!r} is not usable: write 16 to 128 letters, digits, `_` or `-` (`new_nonce()`).")
    return f"{MARK_PREFIX}{nonce}:"


def _pattern(nonce: str) -> re.Pattern[str]:
    return re.compile(re.escape(_opening(nonce)) + f"({'|'.join(MILESTONES)})" + r"\]\](?:\r?\n)?")
