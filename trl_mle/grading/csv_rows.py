"""CSV files of a task, read strictly: each row has the cells of the header, and no name stands twice.

pandas would take the first column of longer rows for an index, and so shift all others.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from trl_mle.errors import TaskError
from trl_mle.text_tables import READ_ERRORS, is_csv, next_row, open_bytes, separator_of

__all__ = ["is_csv", "next_row", "open_bytes", "read_header", "read_rows"]


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
            reader = csv.reader(file, delimiter=separator_of(path))
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
    except READ_ERRORS as error:
        reason = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise TaskError(f"{path} is not a readable CSV file: {reason}.") from error
    except UnicodeDecodeError as error:
        raise TaskError(f"line {_undecodable_line(path)} of {path} is not UTF-8: {error.reason}.") from error
    except csv.Error as error:
        raise TaskError(f"line {reader.line_num} of {path} is no CSV: {error}.") from error
    except TaskError:
        raise
    except ValueError as error:  # an archive with several files
        raise TaskError(str(error)) from error


def _undecodable_line(path: Path) -> int:
    """The number of the first line that is not UTF-8."""
    with open_bytes(path) as lines:
        for number, line in enumerate(lines, 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return number
