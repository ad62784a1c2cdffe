"""The layout of a data set of tasks: `tasks/<id>/` is a task folder. Which of its files travel, and errors of the Hub."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath

from trl_mle.errors import TaskError, hub_client_errors
from trl_mle.tasks.task_yaml import is_inside

ROOT = "tasks"
"""Folder of the repository that holds the task folders."""
FILES = (
    "task.yaml",
    "description.md",
    "reference.py",
    "baseline.py",
    "leaderboard.csv",
    "provenance.json",
    "LICENSE",
    "LICENSE.md",
    "LICENSE.txt",
)
"""Files of a task folder that travel, besides those of `FOLDERS`."""
PRIVATE = "private"
FOLDERS = ("public", PRIVATE)
TASK_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def travels(name: str) -> bool:
    """Whether `name`, a path inside a task folder, is a file of a task. No path leads out of the folder."""
    if not is_inside(name) or len(name) > 1000:
        return False
    parts = PurePosixPath(name).parts
    return name in FILES if len(parts) == 1 else parts[0] in FOLDERS


def split_path(path: str) -> tuple[str, str] | None:
    """Task id and path below `tasks/<id>/` of `path`, which may be no file of a task. `None` for a path elsewhere."""
    root, _, rest = path.partition("/")
    task_id, _, name = rest.partition("/")
    return (task_id, name) if root == ROOT and TASK_ID.fullmatch(task_id) and name else None


def place_of_file(path: str) -> tuple[str, str] | None:
    """Task id and path inside the task folder of `path` in the repository. `None` for a file that is no file of a task."""
    place = split_path(path)
    return place if place is not None and travels(place[1]) else None


@contextmanager
def hub_errors(what: str) -> Iterator[None]:
    """Turn any error of the Hub's client into a `TaskError` that begins with `what`."""
    try:
        yield
    except hub_client_errors() as error:
        raise TaskError(
            f"{what}: {error}. Is it `user/name`, and has `hf auth login` stored a token with the rights for it? "
            "What was transferred is not transferred again."
        ) from error
