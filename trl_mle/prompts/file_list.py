"""The public files of a task in a few lines: one line per file, or one line for a folder of many.

Names of files are data. They are escaped, and cut if they are long.
"""

from __future__ import annotations

import csv
import io
import json
import os
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO

from trl_mle.prompts.table_summary import clean, count_rows, escape_line, name_of
from trl_mle.text_tables import READ_ERRORS, is_csv, next_row, open_bytes, separator_of

MAX_PATH = 120
"""Longest path that is shown, in characters."""
MAX_LINES = 12
"""Most lines of the list."""
MAX_FILES = 200_000
"""Most files that are counted."""
FEW = 3
"""Most files of a folder that have a line each."""
SHOWN_COLUMNS = 8
"""Names of columns that a line shows."""
SHOWN_SUFFIXES = 3
"""Kinds of files that the line of a folder shows."""
COUNTED_BYTES = 32 * 1024**2
"""Size of the largest table whose rows are counted."""


def file_lines(folder: Path, without: Iterable[str] = ()) -> list[str]:
    """The list of the files below `folder`, except those in `without` (paths relative to it).

    Links that lead out of the folder are left out: no program can read them.
    """
    names = sorted(set(islice(_walk(folder), MAX_FILES)) - set(without), key=lambda name: ("/" in name, name))
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(os.path.dirname(name), []).append(name)
    lines: list[str] = []
    folders: dict[str, list[str]] = {}
    for parent, files in groups.items():
        if parent == "" or len(files) <= FEW:
            folders |= {name: [name] for name in files}
        else:
            folders[parent + "/"] = files
    if len(folders) > MAX_LINES:
        folders = _merged(names)
    for name, files in islice(folders.items(), MAX_LINES if len(folders) <= MAX_LINES else MAX_LINES - 1):
        lines.append(_folder_line(folder, name, files) if name.endswith("/") else _file_line(folder, name))
    if hidden := list(islice(folders.values(), MAX_LINES - 1, None)) if len(folders) > MAX_LINES else []:
        lines.append(f"and {sum(map(len, hidden))} more files")
    return lines


def path_of(name: str) -> str:
    """A path as the prompt shows it, in quotes as a string literal if it cannot be shown as it is."""
    shown = clean(name, MAX_PATH)
    if shown == name or len(name) > MAX_PATH:
        return shown
    return escape_line(json.dumps(name, ensure_ascii=False))


def columns_of(names: Sequence[str], shown: int = SHOWN_COLUMNS) -> str:
    """The first names of columns, and the number of the others."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(map(name_of, names[:shown])) + more


def read_columns(path: Path) -> list[str]:
    """The header of a table of text.

    Raises:
        READ_ERRORS, ValueError, csv.Error: the file cannot be read.
    """
    with open_bytes(path) as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as file:
        return next_row(csv.reader(file, delimiter=separator_of(path))) or []


def _walk(folder: Path) -> Iterator[str]:
    inside = os.path.realpath(folder) + os.sep
    for here, folders, files in os.walk(folder):
        folders.sort()  # the order of the walk, and so the files beyond the limit, are the same everywhere
        for name in sorted(files):
            path = os.path.join(here, name)
            if not os.path.islink(path) or os.path.realpath(path).startswith(inside):
                yield os.path.relpath(path, folder).replace(os.sep, "/")


def _merged(names: list[str]) -> dict[str, list[str]]:
    """Files by their folder at the top."""
    folders: dict[str, list[str]] = {}
    for name in names:
        top, slash, _ = name.partition("/")
        folders.setdefault(top + slash, []).append(name)
    return folders


def _file_line(folder: Path, name: str) -> str:
    path = folder / name
    try:
        size = path.stat().st_size
        if not is_csv(path) or size == 0:
            return f"{path_of(name)}, {_size(size)}{_pixels(path)}"
        columns = read_columns(path)
        rows = f"{count_rows(path)} rows" if size <= COUNTED_BYTES else _size(size)
    except (*READ_ERRORS, ValueError, csv.Error):  # a file that is no table after all, or one that nobody can read
        return path_of(name)
    return f"{path_of(name)}, {rows}, columns: {columns_of(columns)}"


def _folder_line(folder: Path, name: str, files: list[str]) -> str:
    suffixes = Counter(os.path.splitext(file)[1].lower() for file in files)
    common = [clean(suffix, 12) for suffix, _ in suffixes.most_common(SHOWN_SUFFIXES) if suffix]
    kinds = f" {', '.join(common)}" if common else ""
    kinds += " and others" if len(suffixes) > SHOWN_SUFFIXES else ""
    count = f"{len(files)} files" if len(files) < MAX_FILES else f"at least {MAX_FILES} files"
    return f"{path_of(name)}: {count}{kinds}, such as {path_of(files[0])}{_pixels(folder / files[0])}"


def _size(size: int) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size} bytes"


def _pixels(path: Path) -> str:
    """Width and height of a PNG or JPEG image, from its first bytes."""
    try:
        with path.open("rb") as file:
            size = _png(file) if path.suffix.lower() == ".png" else None
            if path.suffix.lower() in (".jpg", ".jpeg"):
                size = _jpeg(file)
    except (OSError, struct.error):
        return ""
    return f", {size[0]} x {size[1]} pixels" if size else ""


def _png(file: IO[bytes]) -> tuple[int, int] | None:
    """https://www.w3.org/TR/png-3/#11IHDR"""
    head = file.read(24)
    return struct.unpack(">II", head[16:24]) if head[:8] == b"\x89PNG\r\n\x1a\n" else None


def _jpeg(file: IO[bytes]) -> tuple[int, int] | None:
    """Frame header, ITU-T T.81, B.2.2. Segments before it are skipped."""
    if file.read(2) != b"\xff\xd8":
        return None
    for _ in range(100):
        start, marker, length = struct.unpack(">BBH", file.read(4))
        if start != 0xFF or length < 2:
            return None
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">xHH", file.read(5))
            return width, height
        file.seek(length - 2, os.SEEK_CUR)
    return None
