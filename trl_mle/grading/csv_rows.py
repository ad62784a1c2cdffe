"""CSV files of a task, read strictly: each row has the cells of the header, and no name stands twice.

pandas would take the first column of longer rows for an index, and so shift all others.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from trl_mle.errors import TaskError


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
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            rows = filter(None, reader)
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
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TaskError(f"{path} is not a readable CSV file: {getattr(error, 'strerror', None) or error}.") from error
