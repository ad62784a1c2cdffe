"""The budget of work for one program. Its text comes from a policy, and some texts would keep an analysis busy for ever.

Steps are counted, not seconds: the same program is instrumented alike on every machine. The deadline is a second net, for a
machine that is so slow, or a step so long, that the count alone does not end the work in time.
"""

from __future__ import annotations

import ast
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

MAX_STEPS = 600_000
"""Nodes and questions of one program's analysis. The longest program of the project's corpus needs a sixtieth."""
MAX_SECONDS = 20.0
_LOOK_AT_CLOCK = 1 << 12
_LONGEST_NAME = 200
"""Most characters of a name, dots included. The patterns of `vocabulary` take the square of it."""


class BudgetExceededError(Exception):
    """The program is too complex to be analysed. It runs as it is written."""


class _Work(threading.local):
    steps = 0
    limit = 0
    """0 outside of `budget`: nothing is counted."""
    deadline = 0.0


_WORK = _Work()


@contextmanager
def budget(steps: int = MAX_STEPS, seconds: float = MAX_SECONDS) -> Iterator[None]:
    """Bound the work of the block, in this thread."""
    before = _WORK.steps, _WORK.limit, _WORK.deadline
    _WORK.steps, _WORK.limit, _WORK.deadline = 0, steps, time.thread_time() + seconds
    try:
        yield
    finally:
        _WORK.steps, _WORK.limit, _WORK.deadline = before


def spend(steps: int = 1) -> None:
    """Count steps.

    Raises:
        BudgetExceededError: the budget is used up.
    """
    work = _WORK
    if not work.limit:
        return
    before = work.steps
    work.steps = before + steps
    if work.steps > work.limit:
        raise BudgetExceededError(f"its analysis takes more than {work.limit} steps")
    if before // _LOOK_AT_CLOCK != work.steps // _LOOK_AT_CLOCK and time.thread_time() > work.deadline:
        raise BudgetExceededError("its analysis takes too long on this machine")


def check_names(tree: ast.AST) -> None:
    """Look at the length of every name in `tree`: a step of the analysis must not cost more than a step.

    Raises:
        BudgetExceededError: a name is too long.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant):
            continue
        for _, value in ast.iter_fields(node):
            for name in value if isinstance(value, list) else (value,):
                if isinstance(name, str) and len(name) > _LONGEST_NAME:
                    raise BudgetExceededError(f"a name has {len(name)} characters")


def walk(node: ast.AST) -> Iterator[ast.AST]:
    """`ast.walk` that costs a step per node."""
    for inner in ast.walk(node):
        spend()
        yield inner
