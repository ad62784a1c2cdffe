"""The built-in tasks, one folder each: `task.yaml`, `description.md`, `build.py`, `reference.py`, `baseline.py`.

`build.py` defines `TRAIN_ROWS`, `TEST_ROWS`, `SEED` and `build()`, which reads real data from an installed package and
returns one labelled table. A task is prepared in the cache on first use.
"""

from __future__ import annotations

import hashlib
import shutil
from importlib import import_module
from pathlib import Path

from trl_mle.errors import TaskError
from trl_mle.tasks.assemble import ID_COLUMN, assemble
from trl_mle.tasks.cache import cache_dir, prepare_once
from trl_mle.tasks.folder import load_folder, write_folder
from trl_mle.tasks.task import Task
from trl_mle.tasks.task_yaml import read_task_yaml

PREFIX = "builtin:"
_HERE = Path(__file__).parent
_COPIED = ("task.yaml", "description.md", "reference.py", "baseline.py")
_SHARED = ("assemble.py", "folder.py", "builtin/packaged_data.py", "splits.py")


def builtin_titles() -> dict[str, str]:
    """Title of each built-in task by its id (`builtin:digits`). Prepares no task."""
    names = sorted(path.parent.name for path in _HERE.glob("*/task.yaml"))
    return {PREFIX + name: read_task_yaml(_HERE / name / "task.yaml")["title"] for name in names}


def load_builtin(name: str) -> Task:
    """Load the built-in task `name`, and prepare it in the cache if it is not there yet.

    Raises:
        TaskError: there is no such task; the message lists the choices.
        UserError: the package that ships its data is not installed.
    """
    if PREFIX + name not in builtin_titles():
        raise TaskError(f"unknown task {PREFIX + name!r}; choose one of {', '.join(builtin_titles())}.")
    target = cache_dir() / f"{name}-{_digest(name)}"
    folder = prepare_once(target, lambda folder: _build(name, folder))
    try:
        return load_folder(folder, PREFIX)
    except TaskError as error:  # whoever cleans caches may have removed some of the files
        raise TaskError(f"{error} Remove {folder}, and the task is prepared anew.") from error


def _digest(name: str) -> str:
    """Hash of all files from which the prepared folder is made: after a change of one of them, the task is prepared anew."""
    digest = hashlib.sha256()
    files = [_HERE / name / file for file in ("build.py", *_COPIED)] + [_HERE.parent / file for file in _SHARED]
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:10]


def _build(name: str, folder: Path) -> None:
    source = _HERE / name
    fields = read_task_yaml(source / "task.yaml")
    if fields["id_column"] != ID_COLUMN:
        raise TaskError(
            f"{source / 'task.yaml'}: id_column is {fields['id_column']!r}; built-in tasks use {ID_COLUMN!r}."
        )
    recipe = import_module(f"{__name__}.{name}.build")
    target = fields["target_column"]
    tables = assemble(recipe.build(), target, fields["metric"], recipe.TRAIN_ROWS, recipe.TEST_ROWS, recipe.SEED)
    write_folder(folder, tables, ID_COLUMN, target)
    for file in _COPIED:
        shutil.copyfile(source / file, folder / file)
