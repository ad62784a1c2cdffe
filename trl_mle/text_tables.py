"""Files of tables by their names: which are tables of text, what separates their cells, and how they are opened if compressed."""

from __future__ import annotations

import bz2
import gzip
import lzma
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
        ValueError: a `.zip` holds none or several files, or is encrypted.
        READ_ERRORS: the file cannot be read.
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
            raise ValueError(f"{path} {what}; pack one file alone, without a password.")
        yield stack.enter_context(archive.open(members[0]))


def _suffix(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    if suffixes and suffixes[-1] in COMPRESSED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""
