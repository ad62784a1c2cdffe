"""Syntax trees of programs, from any thread.

Programs are parsed in several threads, so that a long one does not block the event loop. `ast.parse` has two faults
there. Its warnings can be silenced for the whole process only. Before Python 3.11.8 (and 3.12.2), two threads that parse at
the same time can make it raise a `SystemError` (gh-106905).

Two kinds of names cost `ast.parse` the square of their length, and no other thread runs meanwhile. 200,000 characters of
`import a.a.a...` take 10 GB of memory. A name of combining characters takes minutes, because names are normalised (NFKC).
Texts with such names are not parsed.
"""

from __future__ import annotations

import ast
import re
import threading
import unicodedata
import warnings
from itertools import groupby

_ONE_AT_A_TIME = threading.Lock()
_MOST_PARTS = 300
"""Most parts of a dotted name."""
_MOST_COMBINING = 200
"""Most combining characters in a row. Text of real languages has up to about five."""
_LETTER = r"[\w\x80-\U0010ffff]"
_DOTTED = re.compile(rf"(?<!{_LETTER})(?:{_LETTER}++[\s\\]*+\.[\s\\]*+)++")
_NOT_ASCII = re.compile(f"[^\x00-\x7f]{{{_MOST_COMBINING + 1},}}")
_TRIES = 10
"""Attempts per program. Other libraries may parse without the lock, so the lock alone is not enough."""


def parse_quietly(code: str) -> ast.Module:
    """`ast.parse(code)` without its warnings.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: as `ast.parse` does. `ValueError` also for a text that would
            take the parser too long.
    """
    _check_names(code)
    for attempt in range(_TRIES):
        try:
            with _ONE_AT_A_TIME, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return ast.parse(code)
        except SystemError as error:
            if "recursion depth mismatch" not in str(error) or attempt == _TRIES - 1:
                raise
    raise AssertionError("unreachable")


def _check_names(code: str) -> None:
    if any(match[0].count(".") > _MOST_PARTS for match in _DOTTED.finditer(code)):
        raise ValueError(f"a dotted name has more than {_MOST_PARTS} parts")
    for match in _NOT_ASCII.finditer(code):
        for combines, characters in groupby(match[0], _combines):
            if combines and sum(1 for _ in characters) > _MOST_COMBINING:
                raise ValueError(f"more than {_MOST_COMBINING} combining characters in a row")


def _combines(character: str) -> bool:
    return unicodedata.combining(character) != 0
