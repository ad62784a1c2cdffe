"""`read_text`: the text of a user's table, from a text file or from a file of another format."""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import lzma
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from trl_mle.errors import TaskError

if TYPE_CHECKING:
    import pandas as pd

MAX_TABLE_BYTES = 512 * 1024**2
"""Largest table that is read, in bytes after decompression. Programs of a task have 2 GiB of memory."""
_BYTE_ORDER_MARKS = (  # UTF-32 before UTF-16: its little-endian mark begins with the other one
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_OPENERS = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_EXCEL = (".xlsx", ".xlsm")
_OTHER = {
    **dict.fromkeys((".xls", ".xlsb", ".ods"), "save it as .xlsx or CSV"),
    **dict.fromkeys((".json", ".geojson"), "write it with `pandas.read_json(...).to_csv(..., index=False)`"),
    **dict.fromkeys(
        (".jsonl", ".ndjson"), "write it with `pandas.read_json(..., lines=True).to_csv(..., index=False)`"
    ),
    **dict.fromkeys((".pkl", ".pickle"), "write it with `pandas.read_pickle(...).to_csv(..., index=False)`"),
    **dict.fromkeys((".html", ".htm"), "write it with `pandas.read_html(...)[0].to_csv(..., index=False)`"),
    **dict.fromkeys((".db", ".sqlite", ".sqlite3", ".mdb", ".accdb"), "export the table as CSV"),
    **dict.fromkeys((".sav", ".dta", ".sas7bdat", ".rds", ".rda", ".rdata", ".mat"), "export the table as CSV"),
    **dict.fromkeys((".orc", ".avro", ".h5", ".hdf5", ".npy", ".npz", ".pt"), "export the table as CSV"),
    **dict.fromkeys((".arff", ".libsvm", ".svmlight", ".xml", ".pdf", ".doc", ".docx"), "export the table as CSV"),
    **dict.fromkeys((".tar", ".tgz", ".tbz2", ".txz", ".7z", ".rar", ".zst"), "unpack it and give the table"),
}
_MAGIC = {
    b"PK\x03\x04": "a zip archive or an Excel file",
    b"\x1f\x8b\x08": "compressed by gzip",
    b"\xfd7zXZ\x00": "compressed by xz",
    b"\x28\xb5\x2f\xfd": "compressed by zstd",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a RAR archive",
    b"PAR1": "a Parquet file",
    b"ARROW1": "a Feather file",
    b"ORC": "an ORC file",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "an old Excel file",
    b"SQLite format 3\x00": "a SQLite database",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file",
    b"\x93NUMPY": "a NumPy array",
    b"%PDF-": "a PDF file",
}
"""First bytes of other kinds of files."""
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
"""First bytes of the stub that stands for a file of Git LFS that was not fetched."""


def check_path(csv: Path | str, folders: bool = False) -> Path:
    """The path of the table `csv`, with `~` expanded.

    Args:
        folders (`bool`, *optional*, defaults to `False`):
            Whether a folder is accepted.

    Raises:
        TaskError: `csv` is an address, or there is no such file.
    """
    if not isinstance(csv, (str, Path)):
        raise TaskError(f"csv is {csv!r} (`--csv`); give the path of a CSV file.")
    text = str(csv)
    if address := re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/+", text):
        # A `Path` has one slash where the address had two.
        shown = text if "://" in text else f"{address[0]}/{text[len(address[0]) :]}"
        raise TaskError(
            f"{shown} is an address, and no table is fetched from the network; download it and give the file."
        )
    try:
        path = Path(csv).expanduser()
        if path.is_dir():
            if folders:
                return path
            raise TaskError(f"{path} is a folder; give the path of a CSV file.")
        if not path.exists():
            raise TaskError(f"{path} does not exist; give the path of a CSV file.")
        if not path.is_file():
            raise TaskError(f"{path} is not a regular file; write the table into a file first.")
    except (OSError, RuntimeError, ValueError) as error:
        if isinstance(error, TaskError):
            raise
        raise TaskError(f"{csv} cannot be read ({error}); give the path of a CSV file.") from error
    return path


def read_text(path: Path, encoding: str | None) -> tuple[str, list[str]]:
    """The text of the table in `path` as CSV, and what was decided about it in sentences.

    Raises:
        TaskError: the file cannot be read; the message names the fix.
    """
    suffix = path.suffix.lower()
    kind = ".tar" if ".tar" in map(str.lower, path.suffixes[-2:]) else suffix
    if kind in _OTHER:
        raise TaskError(f"{path}: tables of the kind {kind} are not read; {_OTHER[kind]}.")
    try:
        _check_pointer(path)
        if suffix in (*_EXCEL, ".parquet", ".feather"):
            _check_size(path, path.stat().st_size)
            frame, notes = _read_frame(path, suffix)
            # Through text, so that what a cell is does not depend on the file's format. Texts are quoted: without quotes, pandas
            # writes a lone \\r as it is, which ends the row.
            named_index = any(name is not None for name in frame.index.names)
            text = frame.to_csv(index=named_index, quoting=csv.QUOTE_NONNUMERIC)
            _check_size(path, len(text))
            return _without_nul(path, text), notes
        data = _read_bytes(path, suffix)
    except (
        OSError,
        EOFError,
        lzma.LZMAError,
        zlib.error,
        zipfile.BadZipFile,
        RuntimeError,
        NotImplementedError,
    ) as error:
        raise TaskError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    return _decode(path, data, encoding)


@contextmanager
def whole_rows(path: Path) -> Iterator[None]:
    """Let `pandas.read_csv` with `index_col=False` refuse rows with more cells than the header, whose last cells it would drop.

    Raises:
        TaskError: the rows of `path` are longer than its header.
    """
    import pandas as pd

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            yield
    except pd.errors.ParserWarning as warning:
        raise TaskError(
            f"{path} has rows with more cells than its header names, as those of R's `write.table`, whose row names have none. "
            "Name each column, or write the table without row names (`row.names = FALSE`)."
        ) from warning


def _check_pointer(path: Path) -> None:
    with path.open("rb") as file:
        if file.read(len(_LFS_POINTER)) == _LFS_POINTER:
            raise TaskError(f"{path} is a stub of Git LFS, not the table itself; run `git lfs pull` in the clone.")


def _read_bytes(path: Path, suffix: str) -> bytes:
    if suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            members = [
                info
                for info in archive.infolist()
                # What macOS adds: `__MACOSX/...` and `.DS_Store`.
                if not info.is_dir()
                and not info.filename.startswith("__MACOSX/")
                and Path(info.filename).name[0] != "."
            ]
            if len(members) != 1:
                raise TaskError(
                    f"{path} holds {len(members)} files; give an archive of one CSV file, or the CSV file itself."
                )
            with archive.open(members[0]) as file:
                return _bounded(path, file)
    with _OPENERS.get(suffix, open)(path, "rb") as file:  # type: ignore[operator]
        return _bounded(path, file)


def _bounded(path: Path, file: IO[bytes]) -> bytes:
    data = file.read(MAX_TABLE_BYTES + 1)
    _check_size(path, len(data))
    return data


def _check_cells(path: Path) -> None:
    """A cell has a byte at least, as text. Rows that repeat may be few bytes in the file."""
    from pyarrow import parquet

    shape = parquet.read_metadata(path)
    _check_size(path, shape.num_rows * shape.num_columns)


def _check_size(path: Path, size: int) -> None:
    if size > MAX_TABLE_BYTES:
        raise TaskError(
            f"{path} has more than {MAX_TABLE_BYTES // 1024**2} MiB, too much for the memory of a program; "
            f"give a sample of its rows."
        )


def _decode(path: Path, data: bytes, encoding: str | None) -> tuple[str, list[str]]:
    marked = next((name for mark, name in _BYTE_ORDER_MARKS if data.startswith(mark)), None)
    if encoding is not None:
        try:
            codecs.lookup(encoding)
        except (LookupError, TypeError, ValueError) as error:
            raise TaskError(
                f"encoding is {encoding!r} (`--encoding`); write for example utf-8, cp1252 or utf-16."
            ) from error
    is_other = next((kind for start, kind in _MAGIC.items() if data.startswith(start) and b"\0" in data[:4096]), None)
    if is_other is None and data[257:262] == b"ustar":
        is_other = "a tar archive"
    if is_other:
        raise TaskError(
            f"{path} is not a readable CSV file but {is_other}; give it the suffix that says so, or unpack it."
        )
    if encoding is not None and marked is not None and not _fits_mark(encoding, marked):
        raise TaskError(
            f"encoding is {encoding!r} (`--encoding`), but the first bytes of {path} say {marked}; leave the option out."
        )
    if encoding is None and marked is None and data.count(b"\0", 0, 4096) > min(len(data), 4096) // 4:
        raise TaskError(
            f"{path} looks like UTF-16 without a byte order mark; write `--encoding utf-16-le` or `utf-16-be`."
        )
    name = encoding or marked or "utf-8"
    # UTF-8 with a byte order mark is still UTF-8 for its user.
    name = marked if marked == "utf-8-sig" and codecs.lookup(name).name == "utf-8" else name
    try:
        text = data.decode(name)
    except (UnicodeError, LookupError, ValueError) as error:
        raise TaskError(_undecodable(path, data, name, error)) from error
    if not isinstance(text, str):
        raise TaskError(f"encoding is {encoding!r} (`--encoding`); write for example utf-8, cp1252 or utf-16.")
    notes = (
        [f"The file is read as {marked}, as its first bytes say."]
        if marked in ("utf-16", "utf-32") and not encoding
        else []
    )
    text = text.removeprefix("\ufeff")
    if kind := _other_text(text):
        raise TaskError(f"{path} is no table but {kind}.")
    return _without_nul(path, text), notes


def _other_text(text: str) -> str | None:
    """What a text is that is no table, with the fix. A download without a login is often a page under the name of the file."""
    head = text[:500].lstrip()
    if head.lower().startswith(("<!doctype html", "<html")):
        return "an HTML page, as a download that needs a login; download the file again"
    if re.match(r"\{\s*\"|\[\s*\{", head):
        return "JSON; write it with `pandas.read_json(...).to_csv(..., index=False)`"
    return None


def _fits_mark(encoding: str, marked: str) -> bool:
    """Whether a named encoding, such as `utf-16-le`, is one of those that the byte order mark stands for."""
    family = {"utf-8-sig": ("utf-8", "utf-8-sig")}.get(marked, (marked, f"{marked}-le", f"{marked}-be"))
    return codecs.lookup(encoding).name in family


def _without_nul(path: Path, text: str) -> str:
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise TaskError(f"{path} holds a NUL character in line {line}, so it is not a readable CSV file; remove it.")
    return text


def _undecodable(path: Path, data: bytes, name: str, error: Exception) -> str:
    where = ""
    if isinstance(error, UnicodeDecodeError) and error.start < len(data):
        where = f": byte {data[error.start]:#04x} in line {data.count(bytes([10]), 0, error.start) + 1}"
    if kind := next((kind for start, kind in _MAGIC.items() if data.startswith(start)), None):
        return f"{path} is not a readable CSV file but {kind}; give it the suffix that says so, or unpack it."
    return (
        f"{path} is not a readable CSV file in {name}{where}; name its encoding with `--encoding` (Western European "
        f"files are often cp1252) or save it as UTF-8."
    )


def _single_values(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """`frame` without columns of lists, records or bytes: as text, long lists lose their middle, and numbers their digits."""
    import numpy as np

    kinds = {bytes: "bytes", dict: "records", list: "lists", tuple: "lists", np.ndarray: "lists"}
    kept, notes = [], []
    for name, values in frame.items():
        first = next((value for value in values if value is not None), None) if values.dtype == "object" else None
        if (kind := kinds.get(type(first))) is None:
            kept.append(name)
        else:
            notes.append(f"Column {name!r} holds {kind}, for which a cell of a table has no form; it is left out.")
    return frame[kept] if notes else frame, notes


def _read_frame(path: Path, suffix: str) -> tuple[pd.DataFrame, list[str]]:
    import pandas as pd

    notes: list[str] = []
    try:
        if suffix == ".parquet":
            _check_cells(path)
            return _single_values(pd.read_parquet(path))
        if suffix == ".feather":
            return _single_values(pd.read_feather(path))
        with zipfile.ZipFile(path) as archive:
            _check_size(path, sum(info.file_size for info in archive.infolist()))
        with pd.ExcelFile(io.BytesIO(path.read_bytes()), engine="openpyxl") as book:
            sheet = book.sheet_names[0]
            if len(book.sheet_names) > 1:
                notes.append(f"Of the {len(book.sheet_names)} sheets, the first ({sheet!r}) is read.")
            rows = book.parse(sheet, header=None, dtype=object, keep_default_na=False, na_values=[])
    except ImportError as error:
        name = "pip install 'trl_mle[excel]'" if suffix in _EXCEL else "pip install pyarrow"
        raise TaskError(f"{path} needs a package that is not installed: {name}, or save the table as CSV.") from error
    except (ValueError, KeyError, TypeError, zipfile.BadZipFile, AttributeError, SyntaxError) as error:
        # The last is that of damaged XML.
        raise TaskError(f"{path} cannot be read as {suffix}: {error}. Save the table as CSV.") from error
    if not len(rows):
        raise TaskError(f"the first sheet of {path} is empty; put the table there.")
    header, body = rows.iloc[0], rows.iloc[1:]
    return body.set_axis([str(name) for name in header], axis=1), notes
