"""Submissions and answers as DataFrames, read as MLE-bench reads them, with bounds on what a hostile submission costs."""

from __future__ import annotations

import csv
import io
import json
import warnings
from collections.abc import Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trl_mle.errors import TaskError
from trl_mle.grading import FormError

if TYPE_CHECKING:
    import pandas as pd

_HEADER_BYTES = 1024 * 1024


def read_answers(path: Path) -> Any:
    """The answers as a grader takes them: a DataFrame, or a list of dictionaries for JSON lines.

    Raises:
        TaskError: the file cannot be read.
    """
    import pandas as pd

    try:
        if path.suffix == ".jsonl":
            return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", pd.errors.DtypeWarning)
            return pd.read_csv(path, float_precision="round_trip")
    except (OSError, ValueError) as error:  # pandas' errors of parsing and JSON's are ValueErrors
        raise TaskError(f"{path} cannot be read: {error}") from error


def read_submission(data: bytes, max_rows: int, max_columns: int) -> pd.DataFrame:
    """Parse a submission of at most `max_rows` rows and `max_columns` columns.

    Raises:
        FormError: the content is no CSV file, is empty or is too large.
    """
    import pandas as pd

    try:
        columns = _columns(data)
        if columns > max_columns:
            raise FormError(f"the submission has {columns} columns; expected at most {max_columns}")
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


def _columns(data: bytes) -> int:
    """Number of columns of the first line that is not empty. pandas would make an array of each, however many there are."""
    head = data.lstrip(b"\xef\xbb\xbf \t\r\n")[:_HEADER_BYTES].decode("utf-8", "replace")
    row = next(iter(csv.reader(io.StringIO(head, newline=""))), [])
    return len(row)


def plain(value: Any) -> Hashable:
    """An id as a value that equals itself: a missing one is `None`."""
    return None if value != value else value
