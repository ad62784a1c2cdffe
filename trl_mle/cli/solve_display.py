"""What `trl-mle solve` shows: a live line while it searches, and the result."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from trl_mle.cli.printable import printable

if TYPE_CHECKING:
    from trl_mle.solve import Progress as Moment
    from trl_mle.solve import Solution
    from trl_mle.solve.attempts import Attempt
    from trl_mle.tasks import Task

LONGEST = 300
"""Characters of a reason that are shown."""
SLOW_S = 10.0
"""Seconds after which a request without an answer is shown."""


class Display:
    """A bar of the budget with counts, on a terminal; a line for each new best attempt, anywhere."""

    def __init__(self, task: Task, budget_s: float, console: Console):
        self._metric = task.metric
        self._budget_s = budget_s
        self._console = console
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), console=console, transient=True
        )
        self._line = self._bar.add_task("starting", total=budget_s)

    def __enter__(self) -> Display:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()

    def update(self, moment: Moment, new_best: Attempt | None) -> None:
        """Show a moment of the search."""
        best = "-" if moment.best is None else _score(moment.best)
        text = f"{moment.attempts} attempts, {moment.valid} valid, {moment.running} running, best {best}"
        if moment.asking_s > SLOW_S:
            text += f", asking for {moment.asking_s:.0f} s"
        self._bar.update(self._line, completed=self._budget_s - moment.left_s, description=text)
        if new_best is not None:
            seconds = "" if new_best.outcome.duration_s is None else f", {new_best.outcome.duration_s:.1f} s"
            kind = new_best.experience.prompt_kind
            self._console.print(
                printable(f"attempt {new_best.id} ({kind}): {self._metric} {_score(new_best)}{seconds}"),
                markup=False,
                highlight=False,
            )


def show_solution(solution: Solution, task: Task, console: Console) -> None:
    """The result in some lines."""
    minutes = solution.seconds / 60
    lines = [f"{solution.attempts} attempts, {solution.valid} valid, in {minutes:.1f} minutes: {solution.reason}."]
    if solution.best is None:
        lines.append("No program was valid." + (" The commonest reasons:" if solution.failures else ""))
        lines += [f"  {count} x {printable(reason, LONGEST)}" for reason, count in solution.failures]
    else:
        private = solution.best.outcome.private
        beside = "" if private is None or private.score is None else f" (private {private.score:.5g})"
        lines.append(f"Best: attempt {solution.best.id}, {task.metric} {_score(solution.best)}{beside}.")
        lines.append(f"{solution.out / 'solution.py'} and {solution.out / 'submission.csv'} are written.")
    lines.append(f"What was tried: {solution.out / 'page.html'}")
    for line in lines:
        console.print(printable(line), markup=False, highlight=False, soft_wrap=True)


def _score(attempt: Attempt) -> str:
    public = attempt.outcome.public
    return "-" if public is None or public.score is None else f"{public.score:.5g}"
