"""SandMLE: synthetic tasks of its released layout, read from a folder (`sandmle:<folder>`).

The answers lie among the public files there. Here they are moved out of the reach of programs, and the task's `evaluator.py`
runs in a sandbox of its own. See docs/tasks/sandmle.md.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from trl_mle.errors import TaskError
from trl_mle.tasks.cache import cache_dir, prepare_once
from trl_mle.tasks.folder import load_folder
from trl_mle.tasks.sandmle.layout import EVALUATOR, Layout, find_folder, read_layout, task_id
from trl_mle.tasks.task import Task

PREFIX = "sandmle:"
VARIABLE = "SANDMLE_DIR"
"""Environment variable with a folder of tasks. Their names are listed, and stand for their folders."""
_HERE = Path(__file__).parent


def sandmle_titles() -> dict[str, str]:
    """Title of each task in the folder `SANDMLE_DIR` by its name (`sandmle:...`); empty without one."""
    root = os.environ.get(VARIABLE)
    try:
        folders = sorted(Path(root).expanduser().iterdir()) if root else []
    except (OSError, RuntimeError, ValueError):
        return {}
    named = [folder for folder in folders if os.path.isfile(folder / "prepared" / "public" / EVALUATOR)]
    return {PREFIX + folder.name: f"{folder.name} (SandMLE)" for folder in named}


def load_sandmle(name: str) -> Task:
    """Load the task in the folder `name`, or in that folder of `SANDMLE_DIR`, and prepare it in the cache if it is not there yet.

    Raises:
        TaskError: the folder is no task of SandMLE, its files contradict each other, or its evaluator does not work.
        SandboxUnavailableError: this machine cannot isolate evaluators.
    """
    folder = _folder(name)
    try:
        layout = read_layout(find_folder(folder))
        digest = _digest(layout)
    except OSError as error:
        raise TaskError(f"{error.filename} cannot be read: {error.strerror}.") from error
    target = cache_dir() / f"sandmle-{task_id(folder.name)[:60]}-{digest}"
    prepared = prepare_once(target, lambda new: _build(folder.name, layout, new))
    try:
        return load_folder(prepared, PREFIX)
    except TaskError as error:  # whoever cleans caches may have removed some of the files
        raise TaskError(f"{error} Remove {prepared}, and the task is prepared anew.") from error


def _folder(name: str) -> Path:
    root = os.environ.get(VARIABLE)
    try:
        choices = [Path(name).expanduser(), *([Path(root).expanduser() / name] if root else [])]
        found = next((choice.resolve() for choice in choices if name.strip() and choice.is_dir()), None)
    except (OSError, RuntimeError, ValueError) as error:
        raise TaskError(f"{PREFIX}{name[:100]}: {error}") from error
    if found is None:
        raise TaskError(
            f"there is no folder {name!r}: write `sandmle:` and the folder of a task, or set {VARIABLE} to the folder of all "
            f"tasks and write the name of one."
        )
    return found


def _build(name: str, layout: Layout, folder: Path) -> None:
    from trl_mle.tasks.sandmle.prepare import build

    build(name, layout, folder)
    load_folder(folder)


def _digest(layout: Layout) -> str:
    """Hash of all files of the task, and of this code."""
    digest = hashlib.sha256(repr((layout.public, layout.private)).encode())
    paths = [layout.folder / name for name in (*layout.public, *layout.private)]
    for path in (*paths, *sorted(_HERE.glob("*.py"))):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:10]
