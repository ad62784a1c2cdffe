"""CSV files of a task, read strictly: each row has the cells of the header, and no name stands twice.

pandas would take the first column of longer rows for an index, and so shift all others.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import threading
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, cast

from trl_mle.errors import TaskError

_LONGEST_CELL = 2**31 - 1
_limit = threading.Lock()
_OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
COMPRESSED = (*_OPENERS, ".zip")
"""Suffixes of compressed files, as pandas takes them."""
SEPARATORS = {".csv": ",", ".tsv": "\t"}
"""Suffixes of tables of text, with the separator of their cells."""


def is_csv(path: Path) -> bool:
    """Whether the name is that of a table of text, such as `train.csv`, `train.tsv` or `train.csv.gz`."""
    return _table_suffix(path) in SEPARATORS


def _table_suffix(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    if suffixes and suffixes[-1] in COMPRESSED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that may be compressed. A `.zip` must hold one file alone.

    Raises:
        TaskError: a `.zip` holds none or several files, or is encrypted.
        OSError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, EOFError: the file cannot be read.
    """
    suffix = path.suffix.lower()
    with ExitStack() as stack:
        if suffix != ".zip":
            yield cast(IO[bytes], stack.enter_context(_OPENERS.get(suffix, open)(path, "rb")))
            return
        archive = stack.enter_context(zipfile.ZipFile(path))
        members = [member for member in archive.infolist() if not member.is_dir()]
        if len(members) != 1 or members[0].flag_bits & 1:
            what = "is encrypted" if len(members) == 1 else f"holds {len(members)} files"
            raise TaskError(f"{path} {what}; pack one file alone, without a password.")
        yield stack.enter_context(archive.open(members[0]))


def read_header(path: Path) -> list[str]:
    """Names of the columns.

    Raises:
        TaskError: the file cannot be read, is empty, or has a name twice.
    """
    return next(read_rows(path))


def read_rows(path: Path) -> Iterator[list[str]]:
    """The header, then each row. Empty lines are left out.

    Raises:
        TaskError: the file cannot be read, is empty, has a name twice, or has a row of another length than the header.
    """
    try:
        with open_bytes(path) as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=SEPARATORS.get(_table_suffix(path), ","))
            rows = filter(None, iter(lambda: next_row(reader), None))
            header = next(rows, [])
            if not header:
                raise TaskError(f"{path} is empty; it needs a header.")
            column, times = Counter(header).most_common(1)[0]
            if times > 1:
                raise TaskError(f"{path}: column {column!r} occurs {times} times; rename one.")
            yield header
            for row in rows:
                if len(row) != len(header):
                    raise TaskError(
                        f"line {reader.line_num} of {path} has {len(row)} cells, but the header has {len(header)} columns."
                    )
                yield row
    except (OSError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise TaskError(f"{path} is not a readable CSV file: {reason}.") from error
    except UnicodeDecodeError as error:
        raise TaskError(f"line {_undecodable_line(path)} of {path} is not UTF-8: {error.reason}.") from error
    except csv.Error as error:
        raise TaskError(f"line {reader.line_num} of {path} is no CSV: {error}.") from error


def next_row(reader: Iterator[list[str]]) -> list[str] | None:
    """The next row of a `csv.reader`, whose cells may be of any length, or `None` at the end.

    The limit to their length, 131,072 characters, belongs to the whole process. It stands again after each row.
    """
    with _limit:
        usual = csv.field_size_limit(_LONGEST_CELL)
        try:
            return next(reader, None)
        finally:
            csv.field_size_limit(usual)


def _undecodable_line(path: Path) -> int:
    """The number of the first line that is not UTF-8."""
    with open_bytes(path) as lines:
        for number, line in enumerate(lines, 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return number
