"""Syntax trees of programs, from any thread.

Programs are parsed in several threads, so that a long one does not block the event loop. `ast.parse` has two faults
there. Its warnings can be silenced for the whole process only. Before Python 3.11.8 (and 3.12.2), two threads that parse at
the same time can make it raise a `SystemError` (gh-106905).
"""

from __future__ import annotations

import ast
import threading
import warnings

_ONE_AT_A_TIME = threading.Lock()
_TRIES = 10
"""Attempts per program. Other libraries may parse without the lock, so the lock alone is not enough."""


def parse_quietly(code: str) -> ast.Module:
    """`ast.parse(code)` without its warnings.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: as `ast.parse` does.
    """
    for attempt in range(_TRIES):
        try:
            with _ONE_AT_A_TIME, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return ast.parse(code)
        except SystemError as error:
            if "recursion depth mismatch" not in str(error) or attempt == _TRIES - 1:
                raise
    raise AssertionError("unreachable")
