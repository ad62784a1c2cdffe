"""The task folder: `task.yaml`, `description.md`, `public/`, `private/`, and optionally `reference.py` and `baseline.py`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from trl_mle.errors import TaskError
from trl_mle.grading import SPLIT_COLUMN
from trl_mle.grading.csv_rows import read_header
from trl_mle.tasks.assemble import TaskTables
from trl_mle.tasks.mlebench.task import MLEBenchTask
from trl_mle.tasks.script_task import ScriptTask
from trl_mle.tasks.tabular import ANSWERS, TabularTask
from trl_mle.tasks.task import Task
from trl_mle.tasks.task_yaml import read_task_yaml

GRADERS: dict[str, type[Task]] = {kind.grader: kind for kind in (TabularTask, MLEBenchTask, ScriptTask)}
"""Kind of task by the name of its grader in `task.yaml`. A new kind of grader is a subclass of `Task` and a word here."""
PUBLIC_FILES = ("train.csv", "test.csv", "sample_submission.csv")
"""Public files of a task that is made from one table."""
PROGRAMS = ("reference", "baseline")


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
    fields = read_task_yaml(folder / "task.yaml", GRADERS, private=os.path.exists(folder / "private"))
    fields["id"] = id_prefix + fields["id"]
    kind = GRADERS[fields.pop("grader")]
    public = [name for name in (fields["train_file"], fields["test_file"], fields["sample_file"]) if name is not None]
    try:
        for name in ("description.md", *(f"public/{name}" for name in public)):
            if not (folder / name).is_file():
                raise TaskError(f"{folder / name} does not exist; a task needs it.")
        if not (folder / "private").exists():
            raise TaskError(
                f"{folder / 'private'} does not exist: the task cannot grade, as one that was published without its answers. "
                "Put the answers there."
            )
        for name in public:
            if not (folder / "public" / name).resolve().is_relative_to(folder / "public"):
                raise TaskError(
                    f"{folder / 'public' / name} is a link that leads out of public/; copy the file there."
                )
        description = (folder / "description.md").read_text(encoding="utf-8-sig").strip()
        reference, baseline = (path if (path := folder / f"{name}.py").is_file() else None for name in PROGRAMS)
    except UnicodeDecodeError as error:
        raise TaskError(f"{folder / 'description.md'} is not UTF-8: {error}") from error
    except OSError as error:  # such as the folder of the answers, which only its owner may open
        raise TaskError(f"{error.filename} cannot be read: {error.strerror}.") from error
    if not description:
        raise TaskError(f"{folder / 'description.md'} is empty; say in a few sentences what is to be predicted.")
    sample = folder / "public" / fields["sample_file"]
    task = kind(
        folder=folder,
        description=description,
        prediction_columns=tuple(column for column in read_header(sample) if column != fields["id_column"]),
        reference=reference,
        baseline=baseline,
        **fields,
    )
    try:
        task.check()
    except OSError as error:
        raise TaskError(f"{error.filename} cannot be read: {error.strerror}.") from error
    return task


def write_folder(folder: Path, tables: TaskTables, id_column: str, targets: str | Sequence[str]) -> None:
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
    descriptor = os.open(private / ANSWERS, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
        columns = [id_column, *([targets] if isinstance(targets, str) else targets), SPLIT_COLUMN]
        tables.answers[columns].to_csv(file, index=False)
