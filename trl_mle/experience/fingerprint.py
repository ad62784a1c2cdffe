"""The fingerprint of a program: equal for programs that differ in comments, blank lines and spaces alone.

The program is not parsed: its text comes from a policy, and need not be Python. One pass over it is enough, and no part of it is
looked at twice.
"""

from __future__ import annotations

import hashlib
import re

LONGEST = 32_000
"""Characters of a program that are taken apart. A longer one is compared as it is."""

_TOKEN = re.compile(
    r'"""(?:[^"\\]|\\.|"(?!""))*+(?:""")?+|'
    r"'''(?:[^'\\]|\\.|'(?!''))*+(?:''')?+|"
    r'"(?:[^"\\\n]|\\.)*+"?+|'
    r"'(?:[^'\\\n]|\\.)*+'?+|"  # a string that is not closed ends with its line or the text
    r"#[^\n]*+|\n[ \t\f\r]*+|\w++|[^\w\s]",
    re.DOTALL,
)


def tokens_of(code: str) -> list[str]:
    """Strings, names, numbers and single signs of the first `LONGEST` characters, and each line's break with its indentation.

    Comments and blank lines are left out.
    """
    kept = ["\n"]
    for token in _TOKEN.findall(code[:LONGEST]):
        if token[0] == "\n" and kept[-1][0] == "\n":
            kept[-1] = token
        elif token[0] != "#":
            kept.append(token)
    if kept[-1][0] == "\n":
        kept.pop()
    return kept


def fingerprint(code: str, tokens: list[str] | None = None) -> bytes:
    """16 bytes that name the program `code`, of which `tokens` are the tokens, if they are known."""
    text = code if len(code) > LONGEST else " ".join(tokens or tokens_of(code))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
