"""A folder of CSV files, which may be compressed."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from trl_mle.errors import TaskError
from trl_mle.tasks.generate.sources.base import SourceTable, text_title
from trl_mle.tasks.table_file import check_path, read_text, whole_rows

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".csv.bz2", ".csv.xz", ".csv.zip", ".parquet", ".feather", ".xlsx")
MAX_COLUMNS = 10_000
SEPARATORS = ",;\t|"


def tables(folder: str) -> list[SourceTable]:
    """The tables directly in `folder`. Hidden files and links are left out.

    Raises:
        TaskError: there is none, or the folder cannot be read.
    """
    path = Path(folder).expanduser()
    try:
        files = sorted(
            file
            for file in path.iterdir()
            if file.name.lower().endswith(SUFFIXES)
            and not file.name.startswith(".")
            and not file.is_symlink()
            and file.is_file()
        )
    except OSError as error:
        raise TaskError(f"{path} (`--source`) cannot be read: {error.strerror}.") from error
    if not files:
        raise TaskError(f"{path} (`--source`) holds no table; it reads {', '.join(SUFFIXES)}.")
    return [
        SourceTable(
            folder, file.name, text_title(file.name.split(".")[0].replace("_", " "), "table"), f"file {file.name}"
        )
        for file in files
    ]


def read(table: SourceTable) -> pd.DataFrame:
    """The table. The separator is the one that occurs most often in the header.

    Raises:
        TaskError: the file cannot be read; the message names the file and the fix.
    """
    import pandas as pd

    path = check_path(Path(table.source).expanduser() / table.name)
    text, _ = read_text(path, None)
    header = next((line for line in io.StringIO(text) if line.strip()), "")
    separator = max(SEPARATORS, key=header.count)
    if header.count(separator) >= MAX_COLUMNS:
        raise TaskError(f"{path} has more than {MAX_COLUMNS} columns; give fewer.")
    try:
        with whole_rows(path):
            return pd.read_csv(io.StringIO(text), sep=separator, low_memory=False, index_col=False)
    except ValueError as error:  # also pandas' own errors of parsing
        raise TaskError(
            f"{path} is no table: {str(error).strip()}. Make a task of it with `trl-mle tasks create`."
        ) from error
