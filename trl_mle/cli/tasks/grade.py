"""`trl-mle tasks grade`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from trl_mle.cli.printable import printable
from trl_mle.types import Grade

if TYPE_CHECKING:
    from trl_mle.tasks import Task

SPLITS = ("public", "private", "all")
LONGEST_REASON = 1000
"""Characters of the reason of an invalid submission that are shown."""
LEADERBOARD = ("medal", "above_median", "percentile")
"""Fields of `Grade` that only tasks with a leaderboard fill."""


def grade(
    task: Annotated[str, typer.Argument(help="Task name, such as builtin:digits, or a task folder.")],
    file: Annotated[Path, typer.Argument(help="The submission.")],
    split: Annotated[
        str | None, typer.Option(help="Part of the answers: public, private or all. Each one by default.")
    ] = None,
) -> None:
    """Grade a submission by hand. Exit code 1 if it is invalid."""
    from trl_mle.errors import TaskError
    from trl_mle.tasks import load_task

    if split is not None and split not in SPLITS:
        raise TaskError(f"split is {split!r} (`--split`); write {', '.join(SPLITS[:-1])} or {SPLITS[-1]}.")
    loaded = load_task(task)
    file = file.expanduser()
    if not file.exists():
        raise TaskError(f"{file} does not exist; give the file of a submission.")
    grades = {part: loaded.grade(file, part) for part in ([split] if split else SPLITS)}  # type: ignore[arg-type]
    console = Console()
    console.print(grade_table(grades, loaded))
    if invalid := next((result for result in grades.values() if not result.valid), None):
        reason = printable(invalid.reason or "", LONGEST_REASON)
        console.print(f"The submission is invalid: {reason}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1)


def grade_table(grades: dict[str, Grade], task: Task) -> Table:
    """One row per part of the answers: raw score, transformed score, and what a leaderboard says."""
    from trl_mle.rewards.score_transform import transform_score

    extras = [name for name in LEADERBOARD if any(getattr(grade, name) is not None for grade in grades.values())]
    metric = escape(printable(f"{task.metric} ({task.direction})"))
    table = Table("part", metric, "reward", *(name.replace("_", " ") for name in extras))
    for part, grade in grades.items():
        cells = ["invalid", "-"]
        if grade.valid and grade.score is not None:
            cells = [f"{grade.score:.6g}", f"{transform_score(grade.score, task.direction, task.transform):.4f}"]
        table.add_row(part, *cells, *(_shown(getattr(grade, name)) for name in extras))
    return table


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else f"{value:.1%}" if isinstance(value, float) else str(value)
