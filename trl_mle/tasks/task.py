"""`Task`: a task with its answers, the only object that can grade."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trl_mle.grading import grade_submission
from trl_mle.types import Grade, Split, TaskSpec


@dataclass(frozen=True)
class Task(TaskSpec):
    """A `TaskSpec` with the host's side of the folder: answers, reference solution and baseline."""

    reference: Path | None = None
    """Reference solution: a program that shows a score that can be reached. `None` if the folder has none."""
    baseline: Path | None = None
    """Baseline: a simple program that the reference solution must beat. `None` if the folder has none."""

    @property
    def private_dir(self) -> Path:
        """Folder with the answers. It must never be given to a sandbox."""
        return self.folder / "private"

    def grade(self, submission: Path | str | bytes, split: Split = "public") -> Grade:
        """Score a submission.

        Args:
            submission (`Path`, `str` or `bytes`):
                Path of a `submission.csv`, or its content.
            split (`str`, *optional*, defaults to `"public"`):
                Part of the answers: `"public"` for rewards and for choosing the best of n, `"private"` for reports only,
                `"all"` for both together.

        Returns:
            [`Grade`]: the score, or the reason why the submission is invalid.

        Raises:
            GradingError: the task or the grader is broken, and nothing is known about the submission.
        """
        return grade_submission(submission, self.private_dir / "answers.csv", self, split)
