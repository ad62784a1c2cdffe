"""Names of columns as the prompt, the files and the grader will use them."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from trl_mle.errors import TaskError

_WRITTEN_INDEX = re.compile(r"(Unnamed: \d+(\.\d+)?)?")
"""Names that pandas gives to an index that was written without a name, once or several times."""
# Control characters, line and paragraph separators, and characters of no width: nobody sees them in a prompt.
_INVISIBLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff\s]+")
_ZERO_WIDTH = re.compile(r"[\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")
_HEADLESS = " The first line looks like data: a table needs a header that names its columns."


@dataclass(frozen=True)
class Header:
    """The names of a table's columns."""

    names: tuple[str, ...]
    """One name per column, without invisible characters."""
    unnamed: tuple[int, ...]
    """Positions of the columns without a name, whose entry in `names` is a stand-in."""
    index: tuple[int, ...]
    """Positions of the first columns, as far as they have no name or one as pandas gives it to an index."""
    notes: tuple[str, ...]
    """What was changed, in sentences."""


def clean_name(name: str) -> str:
    """`name` on one line, without surrounding spaces and invisible characters, in Unicode's composed form."""
    return _INVISIBLE.sub(" ", _ZERO_WIDTH.sub("", unicodedata.normalize("NFC", str(name)))).strip()


def clean_header(path: Path, names: Sequence[str]) -> Header:
    """Clean all names of a header.

    Raises:
        TaskError: two columns have the same name.
    """
    cleaned = [clean_name(name) for name in names]
    unnamed = tuple(at for at, name in enumerate(cleaned) if not name)
    # An index may have been written several times, each time as a new first column.
    index = tuple(takewhile(lambda at: _WRITTEN_INDEX.fullmatch(cleaned[at]), range(len(cleaned))))
    position: dict[str, int] = {}
    for at, name in enumerate(cleaned):
        if at in unnamed:
            continue
        if name in position:
            message = f"columns {position[name] + 1} and {at + 1} of {path} are both called {name!r}; rename one."
            raise TaskError(message + _HEADLESS * _looks_like_data(cleaned))
        position[name] = at
    changed = [
        (old, new)
        for at, (old, new) in enumerate(zip(names, cleaned, strict=True))
        if old != new and at not in unnamed
    ]
    notes = tuple(
        f"The column {old!r} is called {new!r}, without spaces around it and invisible characters."
        for old, new in changed[:1]
    )
    stand_ins = [f"\0{at}" if at in unnamed else name for at, name in enumerate(cleaned)]
    return Header(tuple(stand_ins), unnamed, index, notes)


def no_column(path: Path, column: str, columns: Sequence[str]) -> str:
    """The message that `path` has no column `column`, with what to do."""
    shown = ", ".join(map(repr, columns[:30])) + (f" and {len(columns) - 30} more" if len(columns) > 30 else "")
    message = f"{path} has no column {column!r}; it has {shown}."
    if close := difflib.get_close_matches(column.lower(), [name.lower() for name in columns], n=1):
        original = next(name for name in columns if name.lower() == close[0])
        message += f" Did you mean {original!r}?"
    elif len(columns) < 2:
        message += " If another character separates the columns, name it with `--sep`."
    elif _looks_like_data(columns):
        message += _HEADLESS
    return message


def _looks_like_data(names: Sequence[str]) -> bool:
    """Whether most names are numbers."""
    return sum(re.fullmatch(r"[+-]?[\d.]+([eE][+-]?\d+)?", name) is not None for name in names) > len(names) / 2
