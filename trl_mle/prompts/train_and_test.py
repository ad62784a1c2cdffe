"""The train and the test file of a task as the prompt shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trl_mle.errors import TaskError
from trl_mle.prompts.file_list import columns_of, path_of, read_columns
from trl_mle.prompts.pitfalls import pitfalls
from trl_mle.prompts.table_summary import MAX_VALUE, TableSummary, clean, count_rows, name_of, summarize
from trl_mle.text_tables import COMPRESSED, is_csv, open_bytes, separator_of
from trl_mle.types import TaskSpec

if TYPE_CHECKING:
    import pandas as pd

SHOWN_TARGETS = 4
"""Names of targets in the line of the test file."""
SUMMARIZED_BYTES = 256 * 1024**2
"""Size of the largest train file that is summarised as a whole. Of a larger one, the first rows are."""
SUMMARIZED_ROWS = 200_000
_COMPRESSION = 8
"""Bytes of a table for each byte of its compressed file, about."""


@dataclass(frozen=True)
class Tables:
    """Train and test file in words. `left` holds the paths of those that are no tables of text: they are listed as files."""

    train: TableSummary | None
    train_file: str
    notes: tuple[str, ...]
    test: str
    left: frozenset[str]
    pitfalls: tuple[str, ...] = ()
    frame: tuple[str, ...] = ()

    def values(self) -> Mapping[str, object]:
        """The variables of `templates/task.j2`."""
        return {
            "train": self.train,
            "train_file": self.train_file,
            "notes": self.notes,
            "test": self.test,
            "pitfalls": self.pitfalls,
            "frame": self.frame,
        }


def read_tables(task: TaskSpec) -> Tables:
    """Read the train and the test file of `task`.

    Raises:
        TaskError: the train file lacks a target.
        READ_ERRORS, ValueError, csv.Error: a file cannot be read.
    """
    train_path, test_path = (_text_table(path) for path in (task.train_path, task.test_path))
    summary, test = None, ""
    notes: list[str] = []
    train, columns = None, []
    sentences: list[str] = []
    frame: list[str] = []
    if train_path is not None:
        train, notes = _train(task, train_path)
        columns = list(train.columns)
        summary = summarize(train, task.id_column, task.target_columns)
        if _is_large(train_path):
            summary = TableSummary(count_rows(train_path), summary.lines)
    if test_path is not None:
        test_columns = read_columns(test_path)
        notes += _id_notes(test_path, task.id_column, test_columns)
        test = _test(task, test_path, columns, test_columns)
        if train is not None:
            sentences, frame = pitfalls(task, train, test_columns, is_plain=not notes)
    tables = ((task.train_file, train_path), (task.test_file, test_path))
    left = frozenset(name for name, path in tables if name is not None and path is None)
    return Tables(
        summary,
        path_of(task.train_file or ""),
        tuple(notes),
        test,
        left,
        tuple(sentences),
        tuple(frame),
    )


def _text_table(path: Path | None) -> Path | None:
    return path if path is not None and is_csv(path) else None


def _is_large(path: Path) -> bool:
    """Whether a train file is too large to be summarised as a whole."""
    factor = _COMPRESSION if path.suffix.lower() in COMPRESSED else 1
    return path.stat().st_size * factor > SUMMARIZED_BYTES


def _test(task: TaskSpec, path: Path, train_columns: list[str], columns: list[str]) -> str:
    """The line of the test file."""
    features = [name for name in train_columns if name not in task.target_columns]
    if not train_columns or (task.target_columns and len(features) == len(train_columns)):
        has = f"columns: {columns_of(columns)}"
    elif task.target_columns and sorted(columns) == sorted(features):
        has = f"the same columns without {columns_of(task.target_columns, SHOWN_TARGETS)}"
    elif sorted(columns) == sorted(features):
        has = "the same columns"
    else:
        has = f"columns: {columns_of(columns)}"
    return f"{path_of(task.test_file or '')}, {count_rows(path)} rows: {has}."


def _id_notes(path: Path, column: str | None, columns: list[str]) -> list[str]:
    """A sentence about ids that a program reads as missing, or two of them as one, if there are any."""
    import pandas as pd

    if column is None or column not in columns:
        return []
    with open_bytes(path) as file:
        ids = pd.read_csv(file, sep=separator_of(path), usecols=[column])[column]
    lost = ids.isna() | ids.duplicated(keep=False)
    if not lost.any():
        return []
    written = _as_written(path, column)
    example = clean(written[lost.to_numpy()].iloc[0], MAX_VALUE) if len(written) == len(ids) else ""
    such = f" such as {example!r}" if example else ""
    return [
        f"`pandas.read_csv` takes ids{such} for missing or for equal ones unless {name_of(column)} is read with `dtype=str` and "
        "`keep_default_na=False`."
    ]


def _train(task: TaskSpec, path: Path) -> tuple[pd.DataFrame, list[str]]:
    """The train rows as programs read them, and a sentence about labels such as `None`, which stand there as they are written."""
    import pandas as pd

    rows = SUMMARIZED_ROWS if _is_large(path) else None
    with open_bytes(path) as file:
        train = pd.read_csv(file, sep=separator_of(path), nrows=rows)
    notes = []
    for name in task.target_columns:
        if name not in train:
            raise TaskError(f"{path} has no column {name!r}, the target of task {task.id!r}.")
        missing = train[name].isna()
        if not missing.any() or (pd.api.types.is_numeric_dtype(train[name]) and not missing.all()):
            continue
        written = _as_written(path, name, rows)
        if len(written) != len(train) or not (words := sorted(set(written[missing]) - {""})):
            continue
        shown = ", ".join(repr(clean(word, MAX_VALUE)) for word in words)
        train = train.assign(**{name: written.where(written != "")})
        notes.append(
            f"`pandas.read_csv` takes {shown} in {name_of(name)} for missing values unless `keep_default_na=False` is given."
        )
    return train, notes


def _as_written(path: Path, column: str, rows: int | None = None) -> pd.Series:
    """The cells of a column as text, with words such as `None` as they stand there."""
    import pandas as pd

    with open_bytes(path) as file:
        return pd.read_csv(
            file,
            sep=separator_of(path),
            nrows=rows,
            usecols=[column],
            dtype=str,
            keep_default_na=False,
            skip_blank_lines=False,
        )[column]
