"""From a task's name to a `Task`."""

from __future__ import annotations

from pathlib import Path

from trl_mle.errors import TaskError
from trl_mle.tasks.builtin import PREFIX, builtin_titles, load_builtin
from trl_mle.tasks.folder import load_folder
from trl_mle.tasks.task import Task


def list_tasks() -> dict[str, str]:
    """Titles of the built-in tasks by id, for example `{"builtin:digits": "..."}`; nothing is prepared."""
    return builtin_titles()


def load_task(name: str | Path) -> Task:
    """The task of that name, checked and ready to be graded.

    Args:
        name (`str` or `Path`):
            `builtin:digits` and the like (see [`list_tasks`]), prepared in the cache on first use, or the path of a
            task folder.

    Raises:
        TaskError: there is no such task, or its folder contradicts itself.
        UserError: the package that ships the data of a built-in task is not installed.
    """
    text = str(name)
    if text.startswith(PREFIX):
        return load_builtin(text.removeprefix(PREFIX))
    if text.startswith("mlebench:"):
        raise TaskError(
            f"{text!r}: tasks of MLE-bench are not supported in this version. Prepare the competition's CSV and make "
            f"a task folder of it with `trl-mle tasks create`."
        )
    path = Path(name).expanduser()
    if not path.exists():
        hint = f" Did you mean {PREFIX + text!r}?" if PREFIX + text in builtin_titles() else ""
        raise TaskError(
            f"there is no task {text!r}: give a task folder or one of {', '.join(builtin_titles())}.{hint}"
        )
    return load_folder(path)
