"""The marks by which a running program reports a milestone, and how they are found and removed again.

A mark is one line, `[[trl_mle:<key>:<milestone>]]`, written in a single call so that no other output can come between
its text and its line end. The key is made from the milestone and the nonce, a secret of one run: text printed without
the right key counts for nothing, and a program that gets to see one mark knows no other.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets

from trl_mle.errors import UserError
from trl_mle.types import MILESTONES

MARK_PREFIX = "[[trl_mle:"
"""How every mark begins, whatever its nonce."""

_NONCE = re.compile(r"[0-9A-Za-z_-]{16,128}")
_KEY_CHARACTERS = 32
_CUT_KEY_CHARACTERS = 8
"""Characters of the key that must be there before the end of cut output is taken for a cut mark."""


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
    if not isinstance(nonce, str) or _NONCE.fullmatch(nonce) is None:
        raise UserError(f"Nonce {nonce!r} is not usable: write 16 to 128 letters, digits, `_` or `-` (`new_nonce()`).")
    key = hmac.new(nonce.encode("ascii"), milestone.encode("ascii"), hashlib.sha256).hexdigest()[:_KEY_CHARACTERS]
    return f"{MARK_PREFIX}{key}:{milestone}]]"


def parse_milestones(stdout: str, nonce: str) -> tuple[str, ...]:
    """The milestones whose marks with this nonce are in `stdout`, each once, in the order of `MILESTONES`."""
    seen = set(_pattern(nonce).findall(stdout))
    return tuple(milestone for milestone in MILESTONES if mark(nonce, milestone) in seen)


def strip_marks(stdout: str, nonce: str) -> str:
    """`stdout` as the program without marks would have written it.

    Where the output was cut in the middle of a mark, the part at its end is removed as well.
    """
    text = _pattern(nonce).sub("", stdout)
    start = text.rfind(MARK_PREFIX)
    cut = text[start:] if start >= 0 else ""
    is_mark = any(mark(nonce, milestone).startswith(cut) for milestone in MILESTONES)
    return text[:start] if is_mark and len(cut) >= len(MARK_PREFIX) + _CUT_KEY_CHARACTERS else text


def _pattern(nonce: str) -> re.Pattern[str]:
    marks = "|".join(re.escape(mark(nonce, milestone)) for milestone in MILESTONES)
    return re.compile(f"({marks})" + r"(?:\r?\n)?")
