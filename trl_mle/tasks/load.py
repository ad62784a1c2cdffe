"""Task sources: from the name of a task to a `Task`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from trl_mle.errors import TaskError
from trl_mle.tasks.builtin import PREFIX, builtin_titles, load_builtin
from trl_mle.tasks.dare_bench import dare_titles, load_dare
from trl_mle.tasks.folder import load_folder
from trl_mle.tasks.mlebench.prepare import load_mlebench, mlebench_titles
from trl_mle.tasks.sandmle import load_sandmle, sandmle_titles
from trl_mle.tasks.task import Task


class TaskSource(NamedTuple):
    """A collection of tasks whose names share a prefix."""

    load: Callable[[str], Task]
    """Loads a task by its name without the prefix. Raises `TaskError` with the choices if there is no such task."""
    titles: Callable[[], dict[str, str]]
    """Title of each task by its full name, without preparing any."""


SOURCES: dict[str, TaskSource] = {
    "builtin": TaskSource(load_builtin, builtin_titles),
    "mlebench": TaskSource(load_mlebench, mlebench_titles),
    "dare": TaskSource(load_dare, dare_titles),
    "sandmle": TaskSource(load_sandmle, sandmle_titles),
}
"""Source by the prefix of its tasks' names (`builtin:digits`). A new source is a module of its own and one line here. A name
without a known prefix is the path of a task folder."""


def list_tasks() -> dict[str, str]:
    """Titles of all tasks that have a name, for example `{"builtin:digits": "..."}`. Prepares no task."""
    return {name: title for source in SOURCES.values() for name, title in source.titles().items()}


def load_task(name: str | Path) -> Task:
    """Load and check a task.

    Args:
        name (`str` or `Path`):
            Name of a task, such as `builtin:digits` (see [`list_tasks`]), or path of a task folder. A built-in task is
            prepared in the cache on first use.

    Returns:
        [`Task`]: ready to be graded.

    Raises:
        TaskError: there is no such task, or its folder contradicts itself.
        UserError: the package that ships the data of a built-in task is not installed.
    """
    if not isinstance(name, (str, Path)) or not str(name).strip():
        raise TaskError(
            f"{name!r} is not the name of a task. Write `load_task('builtin:digits')` or the path of a task folder."
        )
    text = str(name)
    prefix, colon, rest = text.partition(":")
    if colon and prefix in SOURCES:
        return SOURCES[prefix].load(rest)
    try:
        path = Path(name).expanduser()
        exists = path.exists()
    except (OSError, RuntimeError, ValueError) as error:  # too long, not permitted, an unknown home, a NUL character
        raise TaskError(f"there is no task {text[:100]!r}: {getattr(error, 'strerror', None) or error}.") from error
    if not exists:
        names = list_tasks()
        hint = f" Did you mean {PREFIX + text!r}?" if PREFIX + text in names else ""
        raise TaskError(f"there is no task {text!r}: give a task folder or one of {', '.join(names)}.{hint}")
    return load_folder(path)
