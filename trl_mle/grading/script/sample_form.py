"""Form checks of a submission against the sample submission, where there are no answers that this package understands.

A submission must have the columns, the ids and the number of rows of the sample. A column in which the sample has numbers alone
takes finite numbers, and one in which it has a text in every row takes no empty text. Where the sample has whole numbers alone,
`1.0` is written as `1` if the whole column allows it.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from trl_mle.errors import TaskError
from trl_mle.grading.csv_rows import read_rows
from trl_mle.grading.form import FormError, Table, parse_csv
from trl_mle.grading.values import EXACT, MISSING_WORDS, Kind, canonical, kind_of

CELL_BYTES = 512
FAR = 1000.0
"""A number is far from those of the sample if it is so many times the largest of them, and of `FAR` itself."""
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")


@dataclass(frozen=True)
class SampleForm:
    """Form of the submissions of a task."""

    header: tuple[str, ...]
    ids: tuple[str, ...]
    """Ids of the N rows; empty if rows have none."""
    id_column: str | None
    id_kind: Kind
    rows: int
    """N."""
    numbers: frozenset[str]
    """Columns that take finite numbers."""
    whole: frozenset[str]
    """Those of `numbers` in which the sample has whole numbers alone."""
    largest: Mapping[str, float]
    """Largest absolute value of the sample in each of `numbers`."""
    filled: frozenset[str]
    """Columns that take no empty text."""
    max_bytes: int
    """Largest submission."""

    @classmethod
    def of(cls, sample: Path, id_column: str | None) -> SampleForm:
        """The form of the file `sample`. A file is read again only if it has changed.

        Raises:
            TaskError: the file is no CSV file.
        """
        stat = sample.stat()
        return _read(sample, id_column, stat.st_mtime_ns, stat.st_size)

    def check_sample(self, sample: Path) -> list[list[str]]:
        """The rows of the sample submission itself, which may be compressed.

        Raises:
            FormError: it has not the form of a submission: an id stands twice.
        """
        header, *rows = read_rows(sample)
        return self.check(write_rows(header, rows))

    def check(self, data: bytes) -> list[list[str]]:
        """The rows of a submission in the order of the sample's rows and columns.

        Raises:
            FormError: the form is wrong; the message names the column, row or value.
        """
        table = parse_csv(data, self.rows, self.max_bytes)
        at = self._columns(table)
        rows = [[row[index].strip() for index in at] for row in table.rows]
        for cells, line in zip(rows, table.lines, strict=True):
            for name, cell in zip(self.header, cells, strict=True):
                self._check_cell(name, cell, line)
            cells[:] = [
                _plain(cell) if name in self.numbers else cell for name, cell in zip(self.header, cells, strict=True)
            ]
        for at_column in (self.header.index(name) for name in self.whole):
            # pandas writes whole numbers as floats if a value was missing at some time.
            spelled = [_as_integer(row[at_column]) for row in rows]
            if None not in spelled:
                for row, text in zip(rows, spelled, strict=True):
                    row[at_column] = str(text)
        if len(rows) != self.rows:
            raise FormError(f"the submission has {len(rows)} rows; expected {self.rows}, as in the sample submission")
        if self.id_column is None:
            return rows
        return self._ordered(rows, table.lines)

    def unlike_sample(self, rows: list[list[str]]) -> str | None:
        """How `rows` differ in kind from the sample, if they do: evaluators that expect texts fail on numbers and missing values,
        and those that count whole numbers fail on others.

        An evaluator reads tables with pandas, which takes a column of numbers alone for numbers, and words such as `NA` for
        missing values.
        """
        for name in sorted(self.filled - self.numbers):
            cells = {row[self.header.index(name)] for row in rows}
            if missing := sorted(cells & MISSING_WORDS):
                return f"{missing[0]!r} in column {name!r} is a missing value"
            if all(_is_finite(cell) or cell.lower() in ("true", "false") for cell in cells):
                return f"column {name!r} has no text, where the sample submission has texts"
        for name in sorted(self.whole):
            at = self.header.index(name)
            if other := next((row[at] for row in rows if _as_integer(row[at]) is None), None):
                return f"column {name!r} has the number {other}, where the sample submission has whole numbers"
        return None

    def costly(self, rows: list[list[str]]) -> str | None:
        """What of `rows` can cost an evaluator any time and memory: a column of texts, or a number far from those of the sample,
        which an evaluator may count up to.
        """
        if (column := self.free_text()) is not None:
            return f"the texts of column {column!r}"
        for name in sorted(self.numbers):
            most = FAR * max(self.largest[name], FAR)
            cells = (row[self.header.index(name)] for row in rows)
            if far := next((cell for cell in cells if abs(float(cell)) > most), None):
                return f"the number {far} in column {name!r}"
        return None

    def free_text(self) -> str | None:
        """A column that takes any text, if there is one: no check says what an evaluator makes of it."""
        return next((name for name in self.header if name != self.id_column and name not in self.numbers), None)

    def _columns(self, table: Table) -> list[int]:
        found = [name.strip() for name in table.header]
        if sorted(found) != sorted(self.header):
            shown = ", ".join(map(repr, found[:6]))
            expected = ", ".join(map(repr, self.header[:6]))
            raise FormError(f"the submission has the columns {shown[:200]}; expected {expected[:200]}")
        return [found.index(name) for name in self.header]

    def _check_cell(self, name: str, cell: str, line: int) -> None:
        if name == self.id_column or (name not in self.numbers and name not in self.filled):
            return
        where = f"in column {name!r}, line {line}"
        if not cell:
            raise FormError(f"missing value {where}")
        if name in self.numbers and not _is_finite(cell):
            raise FormError(f"{cell[:60]!r} {where} is not a finite number")

    def _ordered(self, rows: list[list[str]], lines: list[int]) -> list[list[str]]:
        at = self.header.index(str(self.id_column))
        row_of: dict[str, list[str]] = {}
        for cells, line in zip(rows, lines, strict=True):
            key = canonical(cells[at], self.id_kind) or ""
            if key in row_of:
                raise FormError(f"id {cells[at][:60]!r} occurs again in line {line}")
            row_of[key] = cells
        ordered = []
        for id_ in self.ids:
            cells = row_of.get(canonical(id_, self.id_kind) or "", [])
            if not cells:
                raise FormError(f"there is no row for the id {id_!r}")
            # With the sample's spelling, which the evaluator compares with its own.
            ordered.append([*cells[:at], id_, *cells[at + 1 :]])
        return ordered


@lru_cache(maxsize=256)
def _read(sample: Path, id_column: str | None, mtime_ns: int, size: int) -> SampleForm:
    header, *rows = read_rows(sample)
    columns = {name.strip(): [row[at].strip() for row in rows] for at, name in enumerate(header)}
    if id_column is not None and id_column not in columns:
        raise TaskError(f"{sample} has no column {id_column!r}, the id_column; add it or correct the key.")
    ids = tuple(columns[id_column]) if id_column is not None else ()
    values = {name: cells for name, cells in columns.items() if name != id_column}
    numbers = frozenset(name for name, cells in values.items() if cells and all(map(_is_finite, cells)))
    return SampleForm(
        header=tuple(name.strip() for name in header),
        ids=ids,
        id_column=id_column,
        id_kind=kind_of(ids),
        rows=len(rows),
        numbers=numbers,
        largest={name: max(abs(float(cell)) for cell in values[name]) for name in numbers},
        whole=frozenset(name for name in numbers if all(map(_INTEGER.fullmatch, values[name]))),
        filled=frozenset(name for name, cells in values.items() if cells and all(cells)),
        max_bytes=max(64 * 1024 + (len(rows) + 1) * len(header) * CELL_BYTES, 4 * len(write_rows(header, rows))),
    )


def _is_finite(text: str) -> bool:
    try:
        return text.isascii() and "_" not in text and math.isfinite(float(text))
    except ValueError:
        return False


def _plain(number: str) -> str:
    """A finite number in a spelling that every reader takes for one: pandas takes 30 digits for a text."""
    is_int64 = _INTEGER.fullmatch(number) and abs(int(number)) < 2**63
    return number if is_int64 else repr(float(number))


def _as_integer(number: str) -> str | None:
    """The whole number that a plain spelling stands for, if it is exact as a float."""
    if _INTEGER.fullmatch(number):
        return number
    value = float(number)
    return str(int(value)) if value.is_integer() and abs(value) < EXACT else None


def write_rows(header: Iterable[str], rows: Iterable[list[str]]) -> bytes:
    """A CSV file of `rows`."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode()
