"""`trl-mle tasks list`, `show` and `prepare`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from trl_mle.cli.printable import printable

if TYPE_CHECKING:
    from trl_mle.types import TaskSpec


def list_() -> None:
    """List the tasks that have a name; nothing is prepared."""
    from trl_mle.tasks import list_tasks

    table = Table("task", "title")
    for id_, title in list_tasks().items():
        table.add_row(escape(printable(id_)), escape(printable(title)))
    Console().print(table)


def show(
    task: Annotated[str, typer.Argument(help="Task name, such as builtin:digits, or a task folder.")],
    prompt: Annotated[bool, typer.Option("--prompt", help="Show the prompt, too.")] = False,
) -> None:
    """Show metric, limits and files of a task, and with `--prompt` the messages that a policy gets."""
    from trl_mle.prompts import build_prompt
    from trl_mle.tasks import load_task

    loaded = load_task(task)
    console = Console()
    table = Table("", loaded.id, show_header=True)
    for name, value in (
        ("title", loaded.title),
        ("description", loaded.description),
        ("metric", f"{loaded.metric} ({loaded.direction})"),
        ("grader", loaded.grader),
        ("id", loaded.id_column or "none: rows are matched by position"),
        ("target", _shorten(loaded.target_columns) or "none in a table"),
        ("predictions", _shorten(loaded.prediction_columns)),
        ("tables", ", ".join(filter(None, (loaded.train_file, loaded.test_file, loaded.sample_file)))),
        ("reward", _reward(loaded)),
        ("limits", f"{loaded.time_limit_s:g} s, {loaded.memory_bytes / 1024**3:g} GiB, {loaded.threads} thread(s)"),
        ("packages", ", ".join(loaded.packages)),
        ("licence", loaded.license or "not known"),
        ("reference", "yes" if loaded.reference else "no"),
        ("baseline", "yes" if loaded.baseline else "no"),
        ("folder", str(loaded.folder)),
    ):
        table.add_row(name, escape(printable(value)))
    console.print(table)
    if prompt:
        for message in build_prompt(loaded):
            console.rule(message["role"])
            console.print(printable(message["content"]), markup=False, highlight=False, soft_wrap=True)


def prepare(
    tasks: Annotated[list[str] | None, typer.Argument(help="Task names; all built-in tasks by default.")] = None,
) -> None:
    """Prepare built-in tasks in the cache, for example before a cluster goes offline."""
    from trl_mle.tasks import load_task
    from trl_mle.tasks.builtin import builtin_titles

    table = Table("task", "folder")
    for name in tasks or list(builtin_titles()):
        loaded = load_task(name)
        table.add_row(loaded.id, escape(str(loaded.folder)))
    Console().print(table)


def _shorten(names: tuple[str, ...]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _reward(task: TaskSpec) -> str:
    """What scores are worth."""
    from trl_mle.rewards.score_transform import transform_score

    transform = task.transform
    if transform.kind == "percentile":
        return f"percentile of a leaderboard of {len(transform.leaderboard)} scores"
    if transform.worst is None or transform.best is None:
        return "the score itself"
    ends = (
        f"{end:g} is {transform_score(end, task.direction, transform):.3g}"
        for end in (transform.worst, transform.best)
    )
    return f"{transform.kind}: {', '.join(ends)}"
