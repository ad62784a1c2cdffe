"""`Task`: a task with its answers, the only object that can grade."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from trl_mle.types import Grade, Split, TaskSpec


@dataclass(frozen=True)
class Task(TaskSpec, ABC):
    """A `TaskSpec` with the host's side of its folder: answers, reference solution and baseline.

    A subclass is a kind of grader. `task.yaml` chooses it by its name (`GRADERS` of `trl_mle.tasks.folder`). Its objects must
    hold no open files and must be picklable, because grading may run in other processes.
    """

    reference: Path | None = None
    """Reference solution: a program that shows a score that can be reached. `None` if the folder has none."""
    baseline: Path | None = None
    """Baseline: a simple program that the reference solution must beat. `None` if the folder has none."""
    grader_options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Settings of the grader: the keys of `grader` in `task.yaml` besides its name."""

    grader: ClassVar[str]
    """Name of the kind of grader in `task.yaml`."""
    grader_keys: ClassVar[tuple[str, ...]] = ()
    """Keys that `grader_options` may have."""
    own_metric: ClassVar[bool] = True
    """Whether the grader computes a metric of its own. Otherwise `metric` must be one of `trl_mle.grading.METRICS`."""

    @property
    def private_dir(self) -> Path:
        """Folder with the answers. It must never be given to a sandbox."""
        return self.folder / "private"

    @abstractmethod
    def check(self) -> None:
        """Check the files of the folder against each other. `load_folder` calls it once.

        Raises:
            TaskError: a file is missing, or two files contradict each other.
        """

    @abstractmethod
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
