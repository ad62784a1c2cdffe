"""Checks of a submission's form. An error in the form is the policy's fault and raises `FormError` with the reason.

Rows and columns may stand in any order. Spaces around names, ids and values do not count. Each probability must lie in [0, 1],
up to rounding, and the sum of a row must be positive. A row of probabilities is divided by its sum (as MLE-bench's and Kaggle's
graders do), so that `0.5, 0.5, 0.5` means one third each. A label must have the type of the answers' labels, and ids and labels
that are numbers are compared by value. A label that no answer has is valid and counts as wrong. A text may be empty.
"""

from __future__ import annotations

import csv
import errno
import io
import math
import os
import stat
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from trl_mle.grading.answers import AnswerKey, TargetAnswers
from trl_mle.grading.csv_rows import next_row
from trl_mle.grading.values import TRUTH_AS_NUMBER, Kind, canonical, kind_of
from trl_mle.types import NUMBER_BYTES, TaskSpec

if TYPE_CHECKING:
    import numpy as np

MAX_SUBMISSION_BYTES = 64 * 1024**2
"""Default size of the largest submission that is accepted, in bytes (as `Limits.submission_bytes`)."""
ROUNDING = 1e-6
"""How far a probability may lie outside of [0, 1]: sums and blends of single-precision numbers do."""
_CELL_BYTES = 512
_TEXT_FACTOR = 4
"""Honest predictions of texts have at most this many times the bytes of the answers, or `_CELL_BYTES` each."""
_SHOWN = 60
_LISTED = 5


class FormError(Exception):
    """A submission with the wrong form. The message becomes `Grade.reason`."""


@dataclass(frozen=True)
class Table:
    """A CSV file as text."""

    header: list[str]
    rows: list[list[str]]
    """Rows of cells. Each row has as many cells as `header`."""
    lines: list[int]
    """Number of the line (from 1) on which each row ends."""


def read_bytes(path: Path, max_bytes: int = MAX_SUBMISSION_BYTES) -> bytes:
    """Read a regular file of at most `max_bytes`. Links are not followed, and a pipe is not waited for.

    Raises:
        FormError: there is no such file, it is not a regular file, or it is too large.
        OSError: the file system failed.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        name = Path(path).name
        reasons = {
            errno.ENOENT: f"there is no file {name}",
            errno.ENOTDIR: f"there is no file {name}",
            errno.ELOOP: f"{name} is a symbolic link, not a file",
            errno.EACCES: f"{name} is not readable",
            errno.ENXIO: f"{name} is not a regular file",
        }
        if error.errno not in reasons:
            raise
        raise FormError(reasons[error.errno]) from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise FormError(f"{Path(path).name} is not a regular file")
    with os.fdopen(descriptor, "rb") as file:
        # One byte more than allowed is read, because the file may grow after its size was checked.
        data = file.read(max_bytes + 1) if status.st_size <= max_bytes else None
    if data is None or len(data) > max_bytes:
        raise FormError(f"the submission has more than {max_bytes} bytes")
    return data


def size_limit(key: AnswerKey, spec: TaskSpec, max_bytes: int | None = None) -> int:
    """Generous size limit of a submission of this task, in bytes. It bounds the work that a hostile submission causes.

    An honest submission fits, whatever the length of ids and labels and the number of digits, unless `max_bytes` is smaller.
    """
    cells = (len(key.ids) + 1) * (len(spec.prediction_columns) + 1)
    honest = _honest_size(key, spec)
    most = max(MAX_SUBMISSION_BYTES, honest) if max_bytes is None else max_bytes
    return min(most, max(64 * 1024 + cells * _CELL_BYTES, honest))


def _honest_size(key: AnswerKey, spec: TaskSpec) -> int:
    """Most bytes of a submission whose numbers are written in full and whose labels are those of the answers."""
    widest = max((_quoted(label) for target in key.targets for label in target.classes), default=0)
    columns = len(spec.prediction_columns) * max(NUMBER_BYTES, widest)
    if key.metric.predicts == "text":  # predictions may be longer than the answers, but not all of them by much
        texts = sum(_quoted(text) for target in key.targets for text in target.truth)
        columns = _TEXT_FACTOR * texts // len(key.ids) + 1
    header = sum(_quoted(name) for name in spec.submission_columns)
    return header + sum(_quoted(name) for name in key.ids) + len(key.ids) * columns


def _quoted(text: str) -> int:
    """Most bytes of a cell with its separator: in quotes, each quote doubled."""
    return len(text.encode("utf-8", "replace")) + text.count('"') + 4


def parse_csv(data: bytes, max_rows: int, max_bytes: int = MAX_SUBMISSION_BYTES) -> Table:
    """Parse a CSV file. Parsing stops at the first row beyond `max_rows`, so that the size of the task bounds the work.

    Raises:
        FormError: the file is too large, is not UTF-8, is not a rectangular CSV file, or has too many rows.
    """
    if len(data) > max_bytes:
        raise FormError(f"the submission has {len(data)} bytes, more than {max_bytes}")
    if b"\0" in data:
        line = data.count(b"\n", 0, data.index(b"\0")) + 1
        raise FormError(f"the submission holds a NUL byte in line {line}; it must be a text file")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise FormError(f"the submission is not UTF-8: byte {data[error.start]:#04x} in line {line}") from error
    return _table(text, max_rows)


def _table(text: str, max_rows: int, any_length: bool = False) -> Table:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    header: list[str] | None = None
    empty_lines = 0
    try:
        for row in iter(lambda: next_row(reader), None) if any_length else reader:
            if not row:
                empty_lines += 1
                # Millions of them would take seconds.
                if empty_lines > max_rows + 1000:
                    raise FormError(f"the submission has more than {max_rows + 1000} empty lines")
                continue
            if header is None:
                header = row
                continue
            if len(row) != len(header):
                raise FormError(
                    f"line {reader.line_num} has {len(row)} cells, but the header has {len(header)} columns"
                )
            if len(rows) >= max_rows:
                raise FormError(f"the submission has more than {max_rows} rows, the number of rows of test.csv")
            rows.append(row)
            lines.append(reader.line_num)
    except csv.Error as error:
        if not any_length:  # Each row pays for the lifted limit of `csv`, and few tables have such a cell.
            return _table(text, max_rows, any_length=True)
        raise FormError(f"line {reader.line_num} is not CSV: {error}") from error
    if header is None:
        raise FormError("the submission is empty")
    return Table(header, rows, lines)


def check_form(table: Table, key: AnswerKey, spec: TaskSpec) -> list[np.ndarray]:
    """Check a submission against the answers' ids and the task's columns.

    Returns:
        `list[ndarray]`: the predictions of each target in the order of `key.ids`, as `Metric.score` takes them: (N,) floats,
        texts or class codes, or (N, K) probabilities whose rows have the sum 1.

    Raises:
        FormError: the form is wrong; the message names the column, row or value.
    """
    import numpy as np

    table = replace(table, header=_names(table.header, spec))
    _check_columns(table.header, spec)
    order = _check_ids(table, key, spec)
    kind = key.metric.predicts
    # The prediction columns of several targets are the targets.
    names = spec.prediction_columns if len(key.targets) == 1 else [target.column for target in key.targets]
    columns = [table.header.index(column) for column in names]
    if kind == "text":
        return [np.array([table.rows[row][at] for row in order], dtype=object) for at in columns]
    if kind == "label":
        return [_labels(table, order, at, target) for at, target in zip(columns, key.targets, strict=True)]
    values = _plain_numbers(table, order, columns, key)
    if values is None:
        values = np.array([[_number(table, row, at, key) for at in columns] for row in order], dtype=np.float64)
    if kind == "number":
        return list(values.T)
    if len(columns) == 1 or len(key.targets) > 1:
        return [np.column_stack([1.0 - column, column]) for column in values.T]
    sums = values.sum(axis=1, keepdims=True)
    # A sum that is positive but denormal has too few digits for the division.
    if (tiny := sums[:, 0] < 1e-12).any():
        row = order[int(np.argmax(tiny))]
        raise FormError(f"the probabilities in line {table.lines[row]} have the sum {sums[tiny][0, 0]:g}; need > 0")
    return [values / sums]


def _names(header: list[str], spec: TaskSpec) -> list[str]:
    """`header` with the task's spelling of its names.

    A name may have spaces around it. Names that are numbers, such as the classes 1 and 2, may be written as floats, and truth
    values in capitals or not.
    """
    expected = list(spec.submission_columns)
    if len(header) > 100 + 2 * len(expected):
        return header
    kind = kind_of(spec.prediction_columns)
    spellings = {name.strip(): name for name in expected}
    if len(spellings) < len(expected):  # names that differ in spaces alone are told apart by them
        return header
    if kind is not Kind.TEXT:
        spellings |= {str(canonical(name, kind)): name for name in spec.prediction_columns}
    known = set(expected)
    return [
        name if name in known else spellings.get(name.strip(), spellings.get(canonical(name, kind) or "", name))
        for name in header
    ]


def _check_columns(header: list[str], spec: TaskSpec) -> None:
    expected = list(spec.submission_columns)
    if len(header) > 100 + 2 * len(expected):
        raise FormError(f"the submission has {len(header)} columns; expected {_list(expected)}")
    column, times = Counter(header).most_common(1)[0]
    if times > 1:
        raise FormError(f"column {_show(column)} occurs {times} times")
    names = set(header)
    if missing := [column for column in expected if column not in names]:
        raise FormError(f"missing column {_list(missing)}; found {_list(header)}")
    if extra := [column for column in header if column not in expected]:
        hint = " (write with index=False)" if extra[0] in ("", "Unnamed: 0", "index") else ""
        raise FormError(f"unexpected column {_list(extra)}{hint}; expected {_list(expected)}")


def _check_ids(table: Table, key: AnswerKey, spec: TaskSpec) -> list[int]:
    """Index of the row of `table` for each of the N ids of `key`, or for each of its N rows if these have no ids."""
    if spec.id_column is None:
        if len(table.rows) != len(key.ids):
            raise FormError(
                f"the submission has {len(table.rows)} rows, not {len(key.ids)}; write one for each row to predict, in its order"
            )
        return list(range(len(table.rows)))
    at = table.header.index(spec.id_column)
    order = [-1] * len(key.ids)
    for row, (cells, line) in enumerate(zip(table.rows, table.lines, strict=True)):
        id_ = cells[at].strip()
        position = key.position.get(canonical(id_, key.id_kind) or "")
        if position is None:
            what = f"unknown id {_show(id_)}" if id_ else "an empty id"
            raise FormError(f"{what} in column {_show(spec.id_column)}, line {line}; use the ids of test.csv")
        if order[position] != -1:
            raise FormError(f"id {_show(id_)} occurs again in line {line}")
        order[position] = row
    if missing := [id_ for id_, row in zip(key.ids, order, strict=True) if row == -1]:
        raise FormError(f"{len(missing)} of {len(key.ids)} rows are missing, for example id {_show(missing[0])}")
    return order


def _plain_numbers(table: Table, order: list[int], columns: list[int], key: AnswerKey) -> np.ndarray | None:
    """What `_number` gives for each cell, in a fraction of the time. `None` if a cell is not plainly a number that may stay."""
    import numpy as np

    rows = [table.rows[row] for row in order]
    if any("_" in row[at] for row in rows for at in columns):
        return None
    try:
        values = np.array([[float(row[at]) for at in columns] for row in rows], dtype=np.float64)
    except ValueError:
        return None
    least, most = key.metric.minimum, None
    if key.metric.predicts == "probability":
        least, most = 0.0, 1.0
    if not np.isfinite(values).all() or (least is not None and (values < least - ROUNDING).any()):
        return None
    if most is not None and (values > most + ROUNDING).any():
        return None
    return values if least is None else np.clip(values, least, most)


def _number(table: Table, row: int, at: int, key: AnswerKey) -> float:
    text = table.rows[row][at].strip()
    where = f"in column {_show(table.header[at])}, line {table.lines[row]}"
    if not text:
        raise FormError(f"missing value {where}")
    if key.metric.predicts == "probability":
        text = TRUTH_AS_NUMBER.get(text.lower(), text)
    try:
        # float() accepts "1_000", which no CSV writer means.
        value = float(text) if "_" not in text else None
    except ValueError:
        value = None
    if value is None:
        raise FormError(f"{_show(text)} {where} is not a number")
    if not math.isfinite(value):
        raise FormError(f"{_show(text)} {where} is not a finite number")
    if key.metric.predicts == "probability":
        if not -ROUNDING <= value <= 1.0 + ROUNDING:
            raise FormError(f"{_show(text)} {where} is not a probability between 0 and 1")
        value = min(max(value, 0.0), 1.0)
    if key.metric.minimum is not None and key.metric.minimum - ROUNDING <= value < key.metric.minimum:
        value = key.metric.minimum
    if key.metric.minimum is not None and value < key.metric.minimum:
        raise FormError(
            f"{_show(text)} {where} is below {key.metric.minimum:g}, the least that {key.metric.name} takes"
        )
    return value


def _labels(table: Table, order: list[int], at: int, target: TargetAnswers) -> np.ndarray:
    """(N,) class codes of column `at`."""
    import numpy as np

    code = {label: k for k, label in enumerate(target.classes)}
    return np.array([_label(table, row, at, target, code) for row in order], dtype=np.int64)


def _label(table: Table, row: int, at: int, target: TargetAnswers, code: dict[str, int]) -> int:
    text = table.rows[row][at]
    if target.label_kind is Kind.INTEGER and set(target.classes) <= {"0", "1"}:
        text = TRUTH_AS_NUMBER.get(text.strip().lower(), text)
    label = canonical(text, target.label_kind)
    if label is None:
        where = f"in column {_show(table.header[at])}, line {table.lines[row]}"
        if not text.strip():
            raise FormError(f"missing value {where}")
        article = "an" if target.label_kind is Kind.INTEGER else "a"
        raise FormError(
            f"{_show(text)} {where} is not {article} {target.label_kind.value} label such as {target.classes[0]}"
        )
    return code.get(label, len(code))


def _show(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")


def _list(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(map(_show, names[:_LISTED])) + more
