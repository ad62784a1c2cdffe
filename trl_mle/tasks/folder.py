"""The task folder: `task.yaml`, `description.md`, `public/`, `private/`, and optionally `reference.py` and `baseline.py`."""

from __future__ import annotations

import os
from collections import Counter
from itertools import islice
from pathlib import Path

from trl_mle.errors import TaskError
from trl_mle.grading import SPLIT_COLUMN, AnswerKey, get_metric
from trl_mle.grading.csv_rows import read_header, read_rows
from trl_mle.grading.values import canonical
from trl_mle.tasks.assemble import TaskTables
from trl_mle.tasks.task import Task
from trl_mle.tasks.task_yaml import read_task_yaml

PUBLIC_FILES = ("train.csv", "test.csv", "sample_submission.csv")
PROGRAMS = ("reference", "baseline")
CHECKED_ROWS = 1000
"""Rows of train.csv whose number of cells is checked."""


def load_folder(folder: Path, id_prefix: str = "") -> Task:
    """Read a task folder and check all its files against each other.

    Args:
        folder (`Path`):
            The folder that holds `task.yaml`.
        id_prefix (`str`, *optional*):
            Prefix of the id of `task.yaml`, for example `builtin:`.

    Raises:
        TaskError: a file is missing, or two files contradict each other.
    """
    folder = folder.resolve()
    if not folder.is_dir():
        raise TaskError(f"{folder} is not a task folder; give a folder that holds a task.yaml.")
    fields = read_task_yaml(folder / "task.yaml")
    fields["id"] = id_prefix + fields["id"]
    try:
        for name in ("description.md", *(f"public/{name}" for name in PUBLIC_FILES), "private/answers.csv"):
            if not (folder / name).is_file():
                raise TaskError(f"{folder / name} does not exist; a task needs it.")
        description = (folder / "description.md").read_text(encoding="utf-8-sig").strip()
        reference, baseline = (path if (path := folder / f"{name}.py").is_file() else None for name in PROGRAMS)
    except UnicodeDecodeError as error:
        raise TaskError(f"{folder / 'description.md'} is not UTF-8: {error}") from error
    except OSError as error:  # such as the folder of the answers, which only its owner may open
        raise TaskError(f"{error.filename} cannot be read: {error.strerror}.") from error
    if not description:
        raise TaskError(f"{folder / 'description.md'} is empty; say in a few sentences what is to be predicted.")
    sample = folder / "public" / "sample_submission.csv"
    columns = tuple(column for column in read_header(sample) if column != fields["id_column"])
    task = Task(
        folder=folder,
        description=description,
        prediction_columns=columns,
        reference=reference,
        baseline=baseline,
        **fields,
    )
    _check_columns(task)
    _check_rows(task)
    return task


def write_folder(folder: Path, tables: TaskTables, id_column: str, target_column: str) -> None:
    """Write the data files of a task into the existing `folder`. The caller adds `task.yaml` and `description.md`.

    Public files are read-only. Only the owner may open `private/` (modes 0700 and 0600).
    """
    public, private = folder / "public", folder / "private"
    public.mkdir(mode=0o755)
    private.mkdir(mode=0o700)
    for name, frame in zip(PUBLIC_FILES, (tables.train, tables.test, tables.sample), strict=True):
        frame.to_csv(public / name, index=False)
        (public / name).chmod(0o444)
    # Created with its final mode, so that there is no moment at which others can open it.
    descriptor = os.open(private / "answers.csv", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
        tables.answers[[id_column, target_column, SPLIT_COLUMN]].to_csv(file, index=False)


def _check_columns(task: Task) -> None:
    headers = {name: read_header(task.public_dir / name) for name in PUBLIC_FILES}
    yaml = task.folder / "task.yaml"
    for name, header in headers.items():
        if task.id_column not in header:
            path = task.public_dir / name
            raise TaskError(
                f"{path} has no column {task.id_column!r}, the id_column of {yaml}; add it or correct the key."
            )
    if task.target_column not in headers["train.csv"]:
        path = task.public_dir / "train.csv"
        raise TaskError(f"{path} has no column {task.target_column!r}, the target_column of {yaml}; correct the key.")
    if task.target_column in headers["test.csv"]:
        path = task.public_dir / "test.csv"
        raise TaskError(
            f"{path} holds the target column {task.target_column!r}: that gives the answers away; drop it."
        )
    metric = get_metric(task.metric)
    columns = task.prediction_columns
    if not columns or (metric.predicts != "probability" and len(columns) != 1):
        wanted = "one column per class, or one" if metric.predicts == "probability" else "exactly one column"
        raise TaskError(
            f"{task.public_dir / 'sample_submission.csv'} has {len(columns)} prediction columns, but {metric.name} "
            f"takes {wanted} beside {task.id_column!r}."
        )


def _check_rows(task: Task) -> None:
    answers = task.private_dir / "answers.csv"
    key = AnswerKey.from_csv(answers, task)
    # pandas takes its columns from the first rows. Later ones are read by no check here, because the file may be large.
    for _ in islice(read_rows(task.public_dir / "train.csv"), 1 + CHECKED_ROWS):
        pass
    expected = {canonical(id_, key.id_kind) or id_: id_ for id_ in key.ids}
    for name in ("test.csv", "sample_submission.csv"):
        path = task.public_dir / name
        rows = read_rows(path)
        at = next(rows).index(task.id_column)
        ids = [row[at].strip() for row in rows]
        if len(ids) == len(key.ids) and set(ids) == set(key.ids):
            continue
        found = {canonical(id_, key.id_kind) or id_: id_ for id_ in ids}
        if len(found) < len(ids):
            counts = Counter(canonical(id_, key.id_kind) or id_ for id_ in ids)
            twice = found[counts.most_common(1)[0][0]]
            raise TaskError(f"{path} holds the id {twice!r} more than once; ids must be unique.")
        if missing := [id_ for value, id_ in expected.items() if value not in found]:
            raise TaskError(f"{path} lacks {len(missing)} ids of {answers}, for example {min(missing)!r}; add them.")
        if extra := [id_ for value, id_ in found.items() if value not in expected]:
            raise TaskError(f"{path} has {len(extra)} ids without an answer in {answers}, for example {min(extra)!r}.")
