"""The tables of a data set as text: every cell as its file writes it, and an empty text for a missing value.

Programs get CSV files, whatever the format of the source, so that numbers and labels have one spelling for programs and grader.
"""

from __future__ import annotations

import io
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from trl_mle.errors import TaskError
from trl_mle.tasks.table_file import whole_rows

if TYPE_CHECKING:
    import pandas as pd

ROW_ID = "row_id"
"""Column with the number of a row to predict."""


def read_table(path: Path) -> pd.DataFrame:
    """Read a `.csv`, `.sqlite` or `.parquet` file as a frame of texts.

    The tables of an SQLite file are joined by `row_id`, which must then name each of their rows once.

    Raises:
        TaskError: the file is broken or of another kind, has rows that are longer than its header, or its tables cannot be
            joined one to one.
    """
    import pandas as pd

    readers = {".csv": _read_csv, ".sqlite": _read_sqlite, ".parquet": _read_parquet}
    if path.suffix not in readers:
        raise TaskError(f"{path} is no {', '.join(readers)} file.")
    try:
        with whole_rows(path):
            frame = readers[path.suffix](path)
    except TaskError:
        raise
    except ImportError as error:
        raise TaskError(f"{path} needs a package to be read: {error}") from error
    except (OSError, ValueError, sqlite3.Error, pd.errors.ParserError) as error:
        raise TaskError(f"{path} cannot be read: {str(error)[:200]}") from error
    frame.columns = pd.Index([str(name) for name in frame.columns])
    if frame.empty or frame.columns.has_duplicates:
        what = "has no rows" if frame.empty else "has two columns of one name"
        raise TaskError(f"{path} {what}.")
    return frame.reset_index(drop=True)


def _read_csv(path: Path | io.StringIO) -> pd.DataFrame:
    import pandas as pd

    # Not as `str`: with it, pandas 3 warns also of empty cells behind the last column.
    return pd.read_csv(path, dtype=object, keep_default_na=False, na_filter=False, index_col=False).astype(str)


def _read_parquet(path: Path) -> pd.DataFrame:
    import pandas as pd

    text = io.StringIO()
    pd.read_parquet(path).to_csv(text, index=False)
    text.seek(0)
    return _read_csv(text)


def _read_sqlite(path: Path) -> pd.DataFrame:
    # Immutable: no journal is looked for, and nothing is written beside the file.
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
        names = [
            name
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY rowid")
            if not name.startswith("sqlite_")
        ]
        if not names:
            raise TaskError(f"{path} holds no table.")
        joined, *others = [_sqlite_table(connection, name) for name in names]
    for name, table in zip(names[1:], others, strict=True):
        joined = _join(joined, table, f"table {name!r} of {path}")
    return joined


def _sqlite_table(connection: sqlite3.Connection, name: str) -> pd.DataFrame:
    import pandas as pd

    cursor = connection.execute('SELECT * FROM "{}"'.format(name.replace('"', '""')))
    columns = [column[0] for column in cursor.description]
    rows = [[_cell(value) for value in row] for row in cursor]
    return pd.DataFrame(rows, columns=columns, dtype=str)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return repr(value)
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _join(left: pd.DataFrame, right: pd.DataFrame, name: str) -> pd.DataFrame:
    for table in (left, right):
        if ROW_ID not in table.columns or not table[ROW_ID].is_unique:
            raise TaskError(f"{name} cannot be joined: {ROW_ID!r} must name each row of each table once.")
    if set(left[ROW_ID]) != set(right[ROW_ID]):
        raise TaskError(f"{name} cannot be joined one to one: it has other values of {ROW_ID!r} than the first table.")
    if twice := (set(left.columns) & set(right.columns)) - {ROW_ID}:
        raise TaskError(f"{name} has the column {min(twice)!r}, which another table has, too.")
    return left.merge(right, on=ROW_ID, validate="one_to_one")
