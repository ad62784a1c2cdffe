"""Entries: outcomes on their way into a store, from rows of a table, and back out of it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple, get_args

from trl_mle.comparison import prompt_kind_of
from trl_mle.errors import ConfigError, StoreError
from trl_mle.experience.records import Experience
from trl_mle.outcomes import RunColumn, from_row, to_row
from trl_mle.types import Outcome, OutcomeKind, PromptKind

_INTEGERS = 2**63


class Entry(NamedTuple):
    """An outcome that is about to be stored."""

    outcome: Outcome
    prompt_kind: PromptKind = "scratch"
    parent_id: int | None = None
    step: int | None = None


def entry_of(row: Mapping[str, Any]) -> Entry:
    """The entry of a row: that of `outcomes.to_row` with `prompt_kind`, `parent_id` and `step`, each of which may be missing.

    Raises:
        ConfigError: the row holds no outcome, or no number where one belongs.
    """
    kind = row.get(RunColumn.PROMPT_KIND)
    return checked(
        Entry(
            from_row(row),
            prompt_kind_of(None, row.get(RunColumn.PARENT_SCORE)) if _is_missing(kind) else kind,  # type: ignore[arg-type]  # `checked` looks at it
            whole_number(row, RunColumn.PARENT),
            whole_number(row, RunColumn.STEP),
        )
    )


def checked(entry: Entry) -> Entry:
    """`entry` with plain numbers.

    Raises:
        ConfigError: an unknown kind of prompt or outcome.
    """
    for name, value, known in (
        ("prompt_kind", entry.prompt_kind, get_args(PromptKind)),
        ("kind", entry.outcome.kind, get_args(OutcomeKind)),
    ):
        if value not in known:
            raise ConfigError(f"`{name}` is {value!r}; it must be one of {', '.join(known)}.")
    if any("\ud800" <= character <= "\udfff" for character in entry.outcome.task_id):
        raise ConfigError(f"`task_id` is {entry.outcome.task_id!r}; lone surrogates cannot be stored.")
    row = {RunColumn.PARENT: entry.parent_id, RunColumn.STEP: entry.step}
    return entry._replace(parent_id=whole_number(row, RunColumn.PARENT), step=whole_number(row, RunColumn.STEP))


def whole_number(row: Mapping[Any, Any], name: str) -> int | None:
    """The value of a column as a whole number, `None` where a table has none.

    Raises:
        ConfigError: the value is no whole number that SQLite holds.
    """
    value = row.get(name)
    if _is_missing(value):
        return None
    try:
        number = int(value)  # type: ignore[arg-type]
        if number == value and abs(number) < _INTEGERS:
            return number
    except (TypeError, ValueError, OverflowError):
        pass
    raise ConfigError(f"`{name}` is {value!r}; it must be a whole number.")


def _is_missing(value: object) -> bool:
    """Whether a table holds no value: `None`, NaN, or the missing value of pandas."""
    return value is None or type(value).__name__ in ("NAType", "NaTType") or value != value


def to_json(outcome: Outcome) -> str:
    """The row of `outcome` as JSON, in ASCII: SQLite's texts have no place for the lone surrogates of a policy's text."""
    row = to_row(outcome)
    return json.dumps({name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in row.items()})


def row_of(content: str) -> dict[str, Any]:
    """The row of a JSON text that `to_json` wrote.

    Raises:
        StoreError: the text is damaged, or was written by others.
    """
    try:
        row = json.loads(content)
    except (ValueError, TypeError, RecursionError) as error:
        raise StoreError(f"An outcome of the store is damaged: it is no JSON ({error}).") from error
    if not isinstance(row, dict):
        raise StoreError("An outcome of the store is damaged: it is no JSON object.")
    return row


def experience_of(row: tuple) -> Experience:
    """The experience of a row: id, kind of prompt, parent, step, depth and the JSON text."""
    id_, prompt_kind, parent_id, step, depth, content = row
    return Experience(id_, from_row(row_of(content)), prompt_kind, parent_id, step, depth)
