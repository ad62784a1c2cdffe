"""One short name for why a rollout earned no score: the error of the program, its limit, or the fault of its submission."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from trl_mle.outcomes import Column

MAX_CHARACTERS = 80
"""Longest name of a class. Names quote what programs wrote, so they are cut and are never trusted."""

CLASS_COLUMNS = (
    Column.KIND,
    Column.FAULT,
    Column.EXTRACTION_REASON,
    Column.STATUS,
    Column.STDERR,
    Column.SUBMISSION_REASON,
    Column.INVALID_REASON,
)
"""Columns of a rollout that decide its class."""

_EXCEPTION = re.compile(r"(?:[A-Za-z_]\w{0,60}\.){0,8}([A-Z]\w{0,60})(?::|$)")
"""The last line of a traceback: the exception's name, with or without its module, and a message."""
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`")
_LIST = re.compile(r"…(?:, ?…)+")
_LIMITS = {
    "timeout": "time limit",
    "memory": "memory limit",
    "output": "output limit",
    "killed": "killed by a signal",
}
_LAST_CHARACTERS = 2000


def failure_class(row: Mapping[str, Any]) -> str | None:
    """Class of a rollout, or `None` if its submission was valid.

    Numbers and quoted names are left out of messages, so that equal faults have equal classes.

    Args:
        row (mapping):
            A row of `read_rollouts`.
    """
    kind = _text(row, Column.KIND)
    if kind == "valid":
        return None
    if not kind:
        return "not scored"
    if kind == "fault":
        return _named("infrastructure", _text(row, Column.FAULT))
    if reason := _text(row, Column.EXTRACTION_REASON):
        return _named("no program", reason)
    status = _text(row, Column.STATUS)
    if status in _LIMITS:
        return _LIMITS[status]
    if status == "error":
        return _exception(_text(row, Column.STDERR))
    if reason := _text(row, Column.SUBMISSION_REASON) or _text(row, Column.INVALID_REASON):
        return _named("submission", reason)
    return _LIMITS["timeout"] if kind == "timeout" else "no valid submission"


def _exception(stderr: str) -> str:
    """Name of the exception in the last line of stderr that looks like one."""
    for line in reversed(stderr[-_LAST_CHARACTERS:].splitlines()):
        if match := _EXCEPTION.match(line):
            return _cut(f"error: {match[1]}")
    return "error: exit code"


def _named(what: str, reason: str) -> str:
    lines = reason.strip().splitlines()
    first = lines[0][:_LAST_CHARACTERS] if lines else ""
    words = _LIST.sub("…", _QUOTED.sub("…", first))
    return _cut(f"{what}: {_NUMBER.sub('N', words)}" if first else what)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_CHARACTERS else f"{text[: MAX_CHARACTERS - 1]}…"


def _text(row: Mapping[str, Any], column: str) -> str:
    value = row.get(column)
    return value if isinstance(value, str) else ""
