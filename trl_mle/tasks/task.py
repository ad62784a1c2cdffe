"""A task with its answers: the only object that can grade."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trl_mle.grading import grade_submission
from trl_mle.types import Grade, Split, TaskSpec


@dataclass(frozen=True)
class Task(TaskSpec):
    """A `TaskSpec` with the host's side of the folder: answers, reference solution and baseline."""

    reference: Path | None = None
    """Program that shows what can be reached, or `None`."""
    baseline: Path | None = None
    """Simple program that the reference must beat, or `None`."""

    @property
    def private_dir(self) -> Path:
        """Folder with the answers. Never give it to a sandbox."""
        return self.folder / "private"

    def grade(self, submission: Path | str | bytes, split: Split = "public") -> Grade:
        """Score a submission: the path of `submission.csv`, or its content.

        Args:
            submission (`Path` or `bytes`):
                What a program wrote.
            split (`str`, *optional*, defaults to `"public"`):
                `"public"` is for rewards and for choosing, `"private"` only for reports, `"all"` is both together.

        Returns:
            `Grade`, with a reason where the submission is invalid.

        Raises:
            GradingError: the task or the grader is broken; nothing is known about the submission.
        """
        return grade_submission(submission, self.private_dir / "answers.csv", self, split)
