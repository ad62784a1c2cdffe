"""Names of columns as the prompt, the files and the grader will use them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trl_mle.errors import TaskError

_UNNAMED = re.compile(r"Unnamed: \d+")
# Control characters, line and paragraph separators, and characters of no width: nobody sees them in a prompt.
_INVISIBLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff\s]+")
_ZERO_WIDTH = re.compile(r"[\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")


@dataclass(frozen=True)
class Header:
    """The names of a table's columns."""

    names: tuple[str, ...]
    """One name per column, without invisible characters."""
    unnamed: tuple[int, ...]
    """Positions of the columns without a name, whose entry in `names` is a stand-in."""
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
    unnamed = tuple(at for at, name in enumerate(cleaned) if not name or (at == 0 and _UNNAMED.fullmatch(name)))
    position: dict[str, int] = {}
    for at, name in enumerate(cleaned):
        if at in unnamed:
            continue
        if name in position:
            raise TaskError(
                f"columns {position[name] + 1} and {at + 1} of {path} are both called {name!r}; rename one."
            )
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
    return Header(tuple(stand_ins), unnamed, notes)
