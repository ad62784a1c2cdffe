"""The fingerprint of a program: equal for programs that differ in comments, blank lines and spaces alone.

The text is not parsed: it comes from a policy, and need not be Python. The passes over it take time proportional to its length.
"""

from __future__ import annotations

import hashlib
import re

_PART = re.compile(
    r'(?P<string>"""(?:[^"\\]|\\.|"(?!""))*+(?:""")?+|'
    r"'''(?:[^'\\]|\\.|'(?!''))*+(?:''')?+|"
    r'"(?:[^"\\\n]|\\.)*+"?+|'
    r"'(?:[^'\\\n]|\\.)*+'?+)"
    r"|#[^\n]*+|(?<=\w)[ \t\f\r]++(?!\w)|(?<=[^\w\s])[ \t\f\r]++",
    re.DOTALL,
)
"""Strings, and what is left out: comments, and spaces that do not stand between two names. Indentation is no match.
A string that is not closed ends with the line or the text, so that no part of the text is looked at twice."""
_BLANK_LINES = re.compile(r"\n(?:[ \t\f\r]*+\n)++")


LONGEST = 32_000
"""Characters of a program up to which comments and spaces make no difference. A longer program is taken as it is."""


def without_comments(code: str, strings: bool = True) -> str:
    """`code` without comments, blank lines and unnecessary spaces inside lines, and without `strings` if so wished."""
    return _BLANK_LINES.sub("\n", _PART.sub(r"\g<string>" if strings else "", code)).strip()


def fingerprint(code: str) -> bytes:
    """16 bytes that name the program `code`."""
    text = without_comments(code) if len(code) <= LONGEST else code
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
