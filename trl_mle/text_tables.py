"""Files of tables by their names: which are tables of text, what separates their cells, and how they are opened if compressed."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, cast

_OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
COMPRESSED = (*_OPENERS, ".zip")
"""Suffixes of compressed files, as pandas takes them."""
SEPARATORS = {".csv": ",", ".tsv": "\t"}
"""Suffixes of tables of text, with the separator of their cells."""
READ_ERRORS = (OSError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, EOFError, NotImplementedError)
"""What reading a file that may be compressed can raise, apart from `ValueError`."""

MAX_UNPACKED_BYTES = 1024**3
"""Largest content of a compressed table, in bytes. A small archive may hold terabytes."""
MAX_UNPACKED_LINE = 64 * 1024**2
"""Longest line of a compressed table, in bytes: a reader holds a whole line in memory."""

_LONGEST_CELL = 2**31 - 1
_limit = threading.Lock()


def is_csv(path: Path) -> bool:
    """Whether the name is that of a table of text, such as `train.csv`, `train.tsv` or `train.csv.gz`."""
    return _suffix(path) in SEPARATORS


def separator_of(path: Path) -> str:
    """Separator of the cells of a table of text. A comma for names that say nothing."""
    return SEPARATORS.get(_suffix(path), ",")


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that may be compressed. A `.zip` must hold one file alone.

    Raises:
        ValueError: a `.zip` holds none or several files, or is encrypted. Or a compressed file holds more than
            `MAX_UNPACKED_BYTES`, or a line of more than `MAX_UNPACKED_LINE`.
        READ_ERRORS: the file cannot be read.
    """
    suffix = path.suffix.lower()
    with ExitStack() as stack:
        if suffix != ".zip":
            file = stack.enter_context(_OPENERS.get(suffix, open)(path, "rb"))
            yield _limited(file, path) if suffix in _OPENERS else file
            return
        archive = stack.enter_context(zipfile.ZipFile(path))
        members = [member for member in archive.infolist() if not member.is_dir()]
        if len(members) != 1 or members[0].flag_bits & 1:
            what = "is encrypted" if len(members) == 1 else f"holds {len(members)} files"
            raise ValueError(f"{path} {what}; pack one file alone, without a password.")
        yield _limited(stack.enter_context(archive.open(members[0])), path)


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


class _Unpacked(io.RawIOBase):
    """The content of a compressed file, up to its limits."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._file, self._path = file, path
        self._size = self._line = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        self._size += len(data)
        end = max(data.rfind(b"\n"), data.rfind(b"\r"))
        self._line = self._line + len(data) if end < 0 else len(data) - end - 1
        for size, limit, what in (
            (self._size, MAX_UNPACKED_BYTES, "unpacks to"),
            (self._line, MAX_UNPACKED_LINE, "has a line of"),
        ):
            if size > limit:
                raise ValueError(
                    f"{self._path} {what} more than {limit >> 20} MiB; a table of that size must not be compressed."
                )
        return len(data)


def _limited(file: IO[bytes], path: Path) -> IO[bytes]:
    return cast(IO[bytes], io.BufferedReader(_Unpacked(file, path), 1 << 16))


def _suffix(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    if suffixes and suffixes[-1] in COMPRESSED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""
