"""`trl-mle tasks run`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from trl_mle.cli.printable import printable
from trl_mle.cli.tasks.grade import LONGEST_REASON, grade_table
from trl_mle.types import MILESTONES

if TYPE_CHECKING:
    from trl_mle.tasks import Task
    from trl_mle.types import Execution, Outcome

TAIL = 2000
"""Characters at the end of an output that are shown."""
EXIT_CODES = {"valid": 0, "failure": 1, "timeout": 1, "fault": 3}


def run(
    task: Annotated[str, typer.Argument(help="Task name, such as builtin:digits, or a task folder.")],
    program: Annotated[Path, typer.Argument(help="File of a Python program.")],
    isolation: Annotated[str, typer.Option(help="'required', or 'none' if you trust the program.")] = "required",
    wall_s: Annotated[float | None, typer.Option(help="Wall-clock limit in seconds; the task's by default.")] = None,
    tail: Annotated[int, typer.Option(help="Characters of the output's end to show.", min=0)] = TAIL,
) -> None:
    """Run one program as in training: instrumented, in the sandbox, graded.

    Exit code 0 if the submission is valid, 1 if it is not or if the time is over, 3 if the sandbox or the grader failed.
    """
    from trl_mle.scripts.one_program import read_program, score_program
    from trl_mle.tasks import load_task

    loaded = load_task(task)
    outcome = score_program(read_program(program), loaded, isolation, wall_s)
    console = Console()
    if outcome.execution is not None:
        _show_output(outcome.execution, tail, console)
        console.print(_execution_table(outcome, outcome.execution, loaded, wall_s or loaded.time_limit_s))
    grades = {
        part: grade
        for part, grade in (("public", outcome.public), ("private", outcome.private))
        if grade is not None and grade.valid
    }
    if grades:
        console.print(grade_table(grades, loaded))
    console.print(_verdict(outcome), markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(EXIT_CODES[outcome.kind])


def _show_output(execution: Execution, tail: int, console: Console) -> None:
    for name, text, cut in (
        ("stdout", execution.stdout, execution.stdout_cut_bytes),
        ("stderr", execution.stderr, execution.stderr_cut_bytes),
    ):
        # Twice the length, because control characters are removed.
        shown = printable(text[-2 * tail :], 2 * tail)[-tail:] if tail else ""
        if shown:
            more = len(text) - len(shown) + cut
            console.rule(name + (f", the last {len(shown)} characters" if more > 0 and len(text) > tail else ""))
            console.print(shown, markup=False, highlight=False, soft_wrap=True)
    console.rule()


def _execution_table(outcome: Outcome, execution: Execution, task: Task, limit_s: float) -> Table:
    table = Table("", task.id)
    inserted = outcome.instrumented.inserted if outcome.instrumented else ()
    for name in MILESTONES:
        reached = "reached" if name in execution.milestones else "not reached" if name in inserted else "not found"
        table.add_row(str(name).replace("_", " "), reached)
    exit_code = "" if execution.exit_code is None else f", exit code {execution.exit_code}"
    table.add_row("status", execution.status + exit_code)
    table.add_row("seconds", f"{execution.wall_s:.2f} (CPU {execution.cpu_s:.2f}) of {limit_s:g}")
    table.add_row("memory", f"{execution.max_rss_bytes / 1024**2:.0f} MiB of {task.memory_bytes / 1024**2:.0f}")
    for metric, value in execution.metrics.items():
        table.add_row(metric.replace("_", " "), f"{value:.6g}")
    if outcome.instrumented is not None and outcome.instrumented.fallback_kind:
        table.add_row("instrumentation", outcome.instrumented.fallback_kind.replace("_", " "))
    return table


def _verdict(outcome: Outcome) -> str:
    if outcome.kind == "fault":
        return f"No reward, because the infrastructure failed: {printable(outcome.fault or '', LONGEST_REASON)}"
    parts = " ".join(f"{name} {value:+.4g}" for name, value in outcome.reward_parts.items())
    reward = f"Reward {outcome.reward:.4g} ({parts})."
    if outcome.kind == "timeout":
        return f"{reward} The time limit is over."
    if outcome.public is not None and not outcome.public.valid:
        return f"{reward} The submission is invalid: {printable(outcome.public.reason or '', LONGEST_REASON)}"
    return reward
