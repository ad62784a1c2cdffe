"""Progress of an evaluation on stderr: a bar with the time that is left, or a line per tenth without a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class EvaluationProgress:
    """One bar per policy."""

    def __init__(self, console: Console | None = None):
        self._console = console or Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._policy = ""
        self._done = self._samples = 0

    def __enter__(self) -> EvaluationProgress:
        if self._console.is_terminal:
            self._bars.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._bars.stop()

    def begin(self, policy: str, samples: int) -> None:
        """A bar for `policy`."""
        self._policy, self._done, self._samples = policy, 0, samples
        if self._console.is_terminal:
            self._bars.add_task(policy, total=samples)

    def advance(self, samples: int) -> None:
        """Move the newest bar."""
        before, self._done = self._done, self._done + samples
        if self._console.is_terminal:
            self._bars.advance(self._bars.task_ids[-1], samples)
        elif self._samples and 10 * before // self._samples < 10 * self._done // self._samples:
            self._console.print(
                f"{self._policy}: {self._done} of {self._samples} samples", markup=False, highlight=False
            )
