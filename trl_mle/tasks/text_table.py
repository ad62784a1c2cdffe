"""`read_text_table`: a user's table as text, exactly as it stands in the file.

pandas' own reader is not used for CSV: it takes words such as `None` for missing values, shifts columns where rows are longer than
the header, and rewrites numbers. Here each row must have the cells of the header, and every cell stays text.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from trl_mle.errors import TaskError
from trl_mle.grading.csv_rows import next_row
from trl_mle.tasks.column_names import Header, clean_header, clean_name, no_column
from trl_mle.tasks.table_file import read_text

if TYPE_CHECKING:
    import pandas as pd

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe", " ": "space"}
"""Separators that are found without being named, in the order in which they are tried."""
MAX_COLUMNS = 10_000
"""Most columns of a table. Each costs time wherever columns are looked at one by one."""
_CHUNK = 50_000
_SAMPLE = 100_000
"""Characters in which a header is looked for below other lines."""
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")


@dataclass(frozen=True)
class TextTable:
    """A table whose cells are text. A missing cell is the empty text."""

    frame: pd.DataFrame
    """Index: line of the file on which each row ends."""
    separator: str
    """Between the cells. The comma if the file is no text file."""
    notes: tuple[str, ...]
    """What was decided about the file, in sentences."""


def read_text_table(path: Path, target: str | None, sep: str | None = None, encoding: str | None = None) -> TextTable:
    """Read the table of `path`.

    Args:
        path (`Path`):
            CSV file, which may be compressed, or an Excel, Parquet or Feather file.
        target (`str`):
            Column that the header must have. It decides between separators. With `None`, the separator is the one with which all
            rows have equally many cells.
        sep (`str`, *optional*):
            Separator of the cells, as a character or as one of the names in `SEPARATORS`.
        encoding (`str`, *optional*):
            Encoding of the text. UTF-8 by default, or UTF-16 or UTF-32 with a byte order mark.

    Raises:
        TaskError: the file cannot be read as a table with the column `target`; the message names the line and the fix.
    """
    import pandas as pd

    named = _separator(sep)
    text, notes = read_text(path, encoding)
    start, separator, header_notes = _find_header(path, text, target, named)
    notes += header_notes
    spaced = _is_spaced(text, start, separator)
    reader = _reader(text, start, separator, spaced)
    first_line = text.count("\n", 0, start)
    rows = _rows(reader, path, first_line)
    _, names = next(rows, (0, []))
    if not names:
        raise TaskError(f"{path} is empty; give a table whose first line names the columns.")
    if len(names) > MAX_COLUMNS:
        raise TaskError(f"{path} has {len(names)} columns, more than {MAX_COLUMNS}; give a table with fewer of them.")
    if target is not None and clean_name(target) not in (columns := [clean_name(name) for name in names]):
        raise TaskError(no_column(path, clean_name(target), columns) + _line_below(text, start, target, named))
    frames, short_end = [], True
    while chunk := list(islice(rows, _CHUNK)):
        short_end &= all(len(cells) == len(names) + 1 and not cells[-1].strip() for _, cells in chunk)
        width = len(names) + short_end
        for line, cells in chunk:
            if len(cells) != width:
                raise TaskError(_ragged(path, line, cells, names, separator))
        # Line ends inside cells become \n: pandas writes a lone \r without quotes, and it would end the row.
        texts = [[re.sub(r"\r\n?", "\n", cell) for cell in cells[: len(names)]] for _, cells in chunk]
        frames.append(pd.DataFrame(texts, index=[line for line, _ in chunk], dtype=str))
    if not frames:
        raise TaskError(f"{path} has a header but no rows; there is nothing to learn from.")
    if short_end:
        notes.append("Each row ends in a separator that the header does not have; it is ignored.")
    frame = pd.concat(frames)
    repeats = (frame == names).all(axis=1) if len(names) > 1 else pd.Series(False, index=frame.index)
    if repeats.any():
        count = int(repeats.sum())
        notes.append(
            f"{count} rows repeat the header and are left out."
            if count > 1
            else "1 row repeats the header and is left out."
        )
    return _with_header(path, frame[~repeats], clean_header(path, names), separator, notes)


def _with_header(path: Path, frame: pd.DataFrame, header: Header, separator: str, notes: list[str]) -> TextTable:
    frame.columns = list(header.names)
    empty_rows = (frame == "").all(axis=1)
    if empty_rows.any():
        notes.append(f"{int(empty_rows.sum())} rows without any value are left out.")
        frame = frame[~empty_rows]
    if not len(frame):
        raise TaskError(f"{path} has no row with a value; there is nothing to learn from.")
    left_out = set()
    for at in sorted({*header.unnamed, *header.index}):
        column = frame.iloc[:, at]
        if at in header.unnamed and (column.str.strip() == "").all():
            notes.append(f"Column {at + 1} has neither a name nor values; it is left out.")
        elif at in header.index and column.is_unique:
            notes.append(
                f"Column {at + 1} has no name and another value in each row, as an index that was written; it is left out."
            )
        elif at in header.unnamed:
            raise TaskError(f"column {at + 1} of {path} has no name in the header; give it one, or remove the column.")
        else:
            continue  # a column that pandas named, but no index
        left_out.add(at)
    kept = [at for at in range(frame.shape[1]) if at not in left_out]
    return TextTable(frame.iloc[:, kept], separator, (*notes, *header.notes))


def _separator(sep: str | None) -> str | None:
    if sep is None:
        return None
    by_name = {name: character for character, name in SEPARATORS.items()} | {"\\t": "\t"}
    character = by_name.get(sep, sep) if isinstance(sep, str) else ""
    if len(character) != 1 or character in '"\r\n\0':
        names = ", ".join(SEPARATORS.values())
        raise TaskError(f"sep is {sep!r} (`--sep`); write one character, or one of {names}.")
    return character


def _find_header(path: Path, text: str, target: str | None, separator: str | None) -> tuple[int, str, list[str]]:
    """Position of the header, the separator, and what was decided: that of the first line with a cell.

    Lines with `#` before it are comments. Excel's line `sep=;` names the separator.
    """
    notes: list[str] = []
    start = 0
    while True:
        line = text[start : _line_end(text, start)]
        named = re.fullmatch(r'("?)sep=(.)\1[ ,;]*', line.strip("\r\n "))
        comment = line.lstrip().startswith("#") and not _is_header(text, start, target, separator)
        if start >= len(text) or not (named or comment or _is_blank(line, separator)):
            break
        if named:
            separator = separator or named[2]
        elif comment and not notes:
            notes.append("Lines before the header that start with '#' are left out as comments.")
        start = _line_end(text, start)
    found = even_separator(path, text, start, separator) if target is None else _guess(text, start, target, separator)
    if found is None:  # the caller says which columns there are, best with the separator that makes most of them
        choices = [separator] if separator else [character for character in SEPARATORS if character != " "]
        return start, max(choices, key=lambda character: len(_first_row(text, start, character))), notes
    if separator is None and found != ",":
        notes.append(f"The cells are separated by {SEPARATORS[found]} (`--sep` decides otherwise).")
    return start, found, notes


def _is_blank(line: str, separator: str | None) -> bool:
    """Whether a line has no text, as the rows above a table that does not begin in the first row of its sheet."""
    return not line.strip(' \t\r\n",;|' + (separator or "")) and line.count('"') % 2 == 0


def _line_below(text: str, start: int, target: str, separator: str | None) -> str:
    """A sentence that names the line with a cell `target`, if it is near the first line. Other lines may stand above a header."""
    sample, at = text[start : start + _SAMPLE], 0
    for _ in range(20):
        at = _line_end(sample, at)
        if at < len(sample) and _guess(sample, at, target, separator):
            line = 1 + text.count("\n", 0, start + at)
            return f" Line {line} has a cell of this name: if it is the header, remove the lines above it."
    return ""


def even_separator(path: Path, text: str, start: int, separator: str | None) -> str:
    """The separator with which the first rows have as many cells as the header, and more than one.

    Raises:
        TaskError: there is none, or there are several.
    """
    if separator is not None or not text[start:].strip():
        return separator or ","
    widths = {}
    for character in SEPARATORS:
        rows = _first_rows(text, start, character)
        width = len(rows[0]) if rows else 0
        # A row may end in one separator more than the header has.
        if width > 1 and {len(row) for row in rows[1:]} <= {width, width + 1}:
            widths[character] = width
    if len(widths) > 1:
        widths.pop(" ", None)  # names and texts have spaces
    if len(widths) == 1:
        return next(iter(widths))
    found = ", ".join(f"{SEPARATORS[character]} ({width} columns)" for character, width in widths.items())
    if found:
        raise TaskError(f"the cells of {path} may be separated by {found}; write one of them (`--sep`).")
    raise TaskError(
        f"{path} has one column, or rows of different lengths, with each separator that is known "
        f"({', '.join(SEPARATORS.values())}). Write the separator (`--sep`), and quote cells that hold it."
        + _even_rows_below(text, start)
    )


def _even_rows_below(text: str, start: int) -> str:
    """A sentence that names the row from which on all have equally many cells, as they do below a title."""
    for character in (character for character in SEPARATORS if character != " "):
        rows = _first_rows(text, start, character)
        for at in range(1, len(rows) - 1):
            if {len(row) for row in rows[at:]} == {len(rows[at])} != {1}:
                first = ", ".join(map(repr, rows[at][:3]))
                return f" If the header is the row that begins with {first}, remove the lines above it."
    return ""


def _first_rows(text: str, start: int, separator: str, rows: int = 50) -> list[list[str]]:
    """The first rows that are not empty, without the last one if it is cut by the end of what is read."""
    found: list[list[str]] = []
    reader = _reader(text, start, separator, True)
    try:
        while len(found) < rows and (row := next_row(reader)) is not None:
            if row:
                found.append(row)
    except csv.Error:
        return []
    return found


def _is_header(text: str, start: int, target: str | None, separator: str | None) -> bool:
    """Whether a line with `#` before it is the header: it has the target, and the next line does not.

    Without a target, it has as many cells as the next line.
    """
    if target is None:
        below = _line_end(text, start)
        tried = [separator] if separator else [character for character in SEPARATORS if character != " "]
        rows = ((_first_row(text, start, character), _first_row(text, below, character)) for character in tried)
        return any(1 < len(here) == len(there) and not there[0].startswith("#") for here, there in rows)
    choices = [separator] if separator else [character for character in SEPARATORS if character != " "]
    here, below = (
        any(_guess(text, at, target, character) for character in choices) for at in (start, _line_end(text, start))
    )
    return here and not below


def _line_end(text: str, start: int) -> int:
    """Position behind the line that begins at `start`."""
    match = _LINE.match(text, start)
    return match.end() if match else len(text)


def _guess(text: str, start: int, target: str, separator: str | None) -> str | None:
    """The first separator with which the header has `target`, or `None`."""
    for character in [separator] if separator else SEPARATORS:
        row = _first_row(text, start, character)
        if clean_name(target) in map(clean_name, row) and (separator or len(row) > 1):
            return character
    return None


def _first_row(text: str, start: int, separator: str) -> list[str]:
    try:
        return next_row(_reader(text, start, separator, True)) or []
    except csv.Error:
        return []


def _is_spaced(text: str, start: int, separator: str) -> bool:
    """Whether a space follows each separator, as in `x, y`. Only then does it belong to the separator."""
    sample = "\n".join(text[start : start + 100_000].splitlines()[:100])
    separators = sample.count(separator)
    # A row may end in the separator, and a cell may be empty.
    return separator == " " or (separators > 0 and sample.count(separator + " ") >= 0.9 * separators)


def _reader(text: str, start: int, separator: str, spaced: bool) -> Iterator[list[str]]:
    lines = (match[0] for match in _LINE.finditer(text, start))  # no copy of the text, as a `StringIO` would be
    return csv.reader(lines, delimiter=separator, skipinitialspace=spaced, strict=True)


def _rows(reader: Iterator[list[str]], path: Path, first_line: int) -> Iterator[tuple[int, list[str]]]:
    """Rows with the number of the line on which each ends. Empty lines are no rows."""
    while True:
        try:
            row = next_row(reader)
        except csv.Error as error:
            line = first_line + reader.line_num  # type: ignore[attr-defined]
            raise TaskError(
                f"line {line} of {path} is not CSV: {error}. Check the quotes: within a quoted cell, a quote is written twice."
            ) from error
        if row is None:
            return
        if row:
            yield first_line + reader.line_num, row  # type: ignore[attr-defined]


def _ragged(path: Path, line: int, cells: list[str], names: list[str], separator: str) -> str:
    shown = cells if len(cells) <= 6 else [*cells[:6], "..."]
    return (
        f"line {line} of {path} has {len(cells)} cells ({', '.join(map(repr, shown))}), but the header has {len(names)} columns "
        f"(separated by {SEPARATORS.get(separator, repr(separator))}). Quote cells that hold a separator, name each column, "
        f"remove a line that is no row, or choose another separator with `--sep`."
    )
