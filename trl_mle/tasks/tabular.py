"""`TabularTask`: answers in one CSV file, scored by a metric of `trl_mle.grading`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import ClassVar

from trl_mle.errors import TaskError
from trl_mle.grading import AnswerKey, get_metric, grade_submission
from trl_mle.grading.csv_rows import read_header, read_rows
from trl_mle.grading.values import canonical
from trl_mle.tasks.task import Task
from trl_mle.text_tables import is_csv
from trl_mle.types import Grade, Split

ANSWERS = "answers.csv"
"""File of `private/`: a column with the id, one per target, and `split` (`public` or `private`)."""
CHECKED_ROWS = 1000
"""Rows of the train file whose number of cells is checked."""


@dataclass(frozen=True)
class TabularTask(Task):
    """A task whose answers are `private/answers.csv`, with one row per row of the submission."""

    grader: ClassVar[str] = "tabular"
    own_metric: ClassVar[bool] = False

    @property
    def answers_path(self) -> Path:
        """File with the answers."""
        return self.private_dir / ANSWERS

    def check(self) -> None:
        if not self.answers_path.is_file():
            raise TaskError(f"{self.answers_path} does not exist; a task needs it.")
        _check_columns(self)
        _check_rows(self)

    def grade(self, submission: Path | str | bytes, split: Split = "public") -> Grade:
        return grade_submission(submission, self.answers_path, self, split)


def _tables(task: Task, *paths: Path | None) -> Iterator[Path]:
    """Those of `paths` that are CSV files. Files of other formats are not opened here."""
    yield from (path for path in paths if path is not None and is_csv(path))


def _check_columns(task: TabularTask) -> None:
    yaml = task.folder / "task.yaml"
    for path in _tables(task, task.train_path, task.test_path, task.sample_path):
        header = read_header(path)
        if task.id_column is not None and task.id_column not in header:
            raise TaskError(
                f"{path} has no column {task.id_column!r}, the id_column of {yaml}; add it or correct the key."
            )
    key = "target_column" if len(task.target_columns) == 1 else "target_columns"
    for path in _tables(task, task.train_path):
        if missing := [name for name in task.target_columns if name not in read_header(path)]:
            raise TaskError(f"{path} has no column {missing[0]!r}, the {key} of {yaml}; correct the key.")
    for path in _tables(task, task.test_path):
        if given := [name for name in task.target_columns if name in read_header(path)]:
            raise TaskError(f"{path} holds the target column {given[0]!r}: that gives the answers away; drop it.")
    metric = get_metric(task.metric)
    columns = task.prediction_columns
    if len(task.target_columns) > 1:
        if sorted(columns) != sorted(task.target_columns):
            raise TaskError(
                f"{task.sample_path} has the prediction columns {', '.join(map(repr, columns))}; with several targets, they "
                f"are the targets: {', '.join(map(repr, task.target_columns))}."
            )
    elif not columns or (metric.predicts != "probability" and len(columns) != 1):
        wanted = "one column per class, or one" if metric.predicts == "probability" else "exactly one column"
        beside = "" if task.id_column is None else f" beside {task.id_column!r}"
        raise TaskError(
            f"{task.sample_path} has {len(columns)} prediction columns, but {metric.name} takes {wanted}{beside}."
        )


def _check_rows(task: TabularTask) -> None:
    key = AnswerKey.from_csv(task.answers_path, task)
    # pandas takes its columns from the first rows. Later ones are read by no check here, because the file may be large.
    for path in _tables(task, task.train_path):
        for _ in islice(read_rows(path), 1 + CHECKED_ROWS):
            pass
    for path in _tables(task, task.test_path, task.sample_path):
        _check_ids(path, key, task)


def _check_ids(path: Path, key: AnswerKey, task: TabularTask) -> None:
    """Check that the rows of `path` are those of the answers: by their ids, or by their number if they have none."""
    rows = read_rows(path)
    header = next(rows)
    most = 2 * len(key.ids) + CHECKED_ROWS  # enough to say what is wrong
    rows = islice(rows, most)
    if task.id_column is None:
        if (count := sum(1 for _ in rows)) != len(key.ids):
            at_least = " or more" if count == most else ""
            raise TaskError(
                f"{path} has {count} rows{at_least}, but {task.answers_path} has {len(key.ids)}; they must be the same."
            )
        return
    at = header.index(task.id_column)
    ids = [row[at].strip() for row in rows]
    if len(ids) == len(key.ids) and set(ids) == set(key.ids):
        return
    expected = {canonical(id_, key.id_kind) or id_: id_ for id_ in key.ids}
    found = {canonical(id_, key.id_kind) or id_: id_ for id_ in ids}
    if len(found) < len(ids):
        counts = Counter(canonical(id_, key.id_kind) or id_ for id_ in ids)
        twice = found[counts.most_common(1)[0][0]]
        raise TaskError(f"{path} holds the id {twice!r} more than once; ids must be unique.")
    if missing := [id_ for value, id_ in expected.items() if value not in found]:
        raise TaskError(
            f"{path} lacks {len(missing)} ids of {task.answers_path}, for example {min(missing)!r}; add them."
        )
    if extra := [id_ for value, id_ in found.items() if value not in expected]:
        at_least = " or more" if len(ids) == most else ""
        raise TaskError(
            f"{path} has {len(extra)}{at_least} ids without an answer in {task.answers_path}, for example {min(extra)!r}."
        )
