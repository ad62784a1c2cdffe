"""Submissions and answers as DataFrames, read as MLE-bench reads them, with bounds on what a hostile submission costs."""

from __future__ import annotations

import io
import json
import re
import warnings
from collections.abc import Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trl_mle.errors import TaskError
from trl_mle.grading import FormError
from trl_mle.text_tables import READ_ERRORS, open_bytes

if TYPE_CHECKING:
    import pandas as pd

_CELL = re.compile(rb'(?:"[^"]*+(?:""[^"]*+)*+"?+)?+[^,\r\n]*+(,|\r\n?|\n|\Z)')
"""A cell, which may start with a quoted part, and what ends it."""
_HEAD_ROWS = 16
_BLANK_LINES = 1000


def read_answers(path: Path) -> Any:
    """The answers as a grader takes them: a DataFrame, or a list of dictionaries for JSON lines.

    Raises:
        TaskError: the file cannot be read, or is compressed and unpacks to more than `MAX_UNPACKED_BYTES`.
    """
    import pandas as pd

    try:
        if path.suffix == ".jsonl":
            return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        with warnings.catch_warnings(), open_bytes(path) as file:
            warnings.simplefilter("ignore", pd.errors.DtypeWarning)
            return pd.read_csv(file, float_precision="round_trip", compression=None)
    except (*READ_ERRORS, ValueError) as error:  # pandas' errors of parsing and JSON's are ValueErrors
        raise TaskError(f"{path} cannot be read: {error}") from error


def read_submission(data: bytes, max_rows: int, max_columns: int) -> pd.DataFrame:
    """Parse a submission of at most `max_rows` rows and `max_columns` columns.

    Raises:
        FormError: the content is no CSV file, is empty or is too large.
    """
    import pandas as pd

    try:
        _check_width(data, max_columns)
        table = pd.read_csv(io.BytesIO(data), float_precision="round_trip", nrows=max_rows + 1)
    except (FormError, MemoryError, ImportError, OSError):  # the last three are the machine's
        raise
    except pd.errors.EmptyDataError as error:
        raise FormError("the submission is empty") from error
    except Exception as error:
        # Parsing depends on the submission alone, so the submission has caused any error of it.
        raise FormError(f"the submission cannot be read as CSV: {type(error).__name__}: {str(error)[:200]}") from error
    if len(table) > max_rows:
        raise FormError(f"the submission has more than {max_rows} rows")
    return table


def _check_width(data: bytes, max_columns: int) -> None:
    """Refuse wide rows before pandas makes a column of each cell. It allows no row that is wider than the first ones.

    Cells are counted and not kept: a cell may be megabytes long, as a mask of pixels is.
    """
    at = 3 if data.startswith(b"\xef\xbb\xbf") else 0
    rows = blank = cells = 0
    while rows < _HEAD_ROWS and at < len(data):
        cell = _CELL.match(data, at)
        assert cell is not None  # every part of the pattern may be empty
        cells += 1
        if cells > max_columns:
            raise FormError(f"the submission has more than {max_columns} columns")
        if cell[1] != b",":
            if cells == 1 and not cell[0].strip():
                blank += 1
            else:
                rows += 1
            cells = 0
        if blank > _BLANK_LINES:
            raise FormError(f"the submission has more than {_BLANK_LINES} empty lines")
        at = cell.end()


def plain(value: Any) -> Hashable:
    """An id as a value that equals itself: a missing one is `None`."""
    return None if value != value else value
