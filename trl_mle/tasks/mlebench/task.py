"""`MLEBenchTask`: a task whose submissions are graded as MLE-bench grades them, with medals."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from trl_mle.errors import GradingError, TaskError
from trl_mle.grading import PARTS, SPLIT_COLUMN, FormError
from trl_mle.grading.csv_rows import is_csv, read_header, read_rows
from trl_mle.tasks.mlebench.grading import AnswerTable, grader_of, score_submission, size_limit
from trl_mle.tasks.mlebench.leaderboard import Leaderboard, read_leaderboard
from trl_mle.tasks.mlebench.tables import plain, read_answers
from trl_mle.tasks.task import Task
from trl_mle.tasks.transform_yaml import is_number
from trl_mle.types import Grade, Split

PARTS_FILE = "parts.csv"
"""File of `private/` with one column, `split`, and a row per row of the answers. Missing if they are not divided."""
LEADERBOARD = "leaderboard.csv"
"""File of `private/` with the scores of all teams, if they are known."""


@dataclass(frozen=True)
class MLEBenchTask(Task):
    """A competition of MLE-bench as a task folder."""

    grader: ClassVar[str] = "mlebench"
    grader_keys: ClassVar[tuple[str, ...]] = ("competition", "answers", "thresholds")
    own_metric: ClassVar[bool] = True

    def check(self) -> None:
        options = self.grader_options
        yaml = self.folder / "task.yaml"
        for key in self.grader_keys:
            if key not in options:
                raise TaskError(f"{yaml}: grader has no {key!r}; prepare the task again.")
        if Path(str(options["answers"])).name != options["answers"] or not self.answers_path.is_file():
            raise TaskError(
                f"{yaml}: grader.answers is {options['answers']!r}, which is no file of {self.private_dir}."
            )
        numbers = options["thresholds"]
        if not isinstance(numbers, list) or len(numbers) != 4 or not all(map(is_number, numbers)):
            raise TaskError(f"{yaml}: grader.thresholds is {numbers!r}; write gold, silver, bronze and median.")
        grader_of(str(options["competition"]), self.id_column, self.prediction_columns)
        self.leaderboard()
        try:
            given = [name for name in self.target_columns if name in _fields(self.test_path)]
            self.answer_table()
        except (TaskError, OSError, MemoryError):
            raise
        except Exception as error:  # files of others, such as JSON that is nested too deeply
            raise TaskError(
                f"{self.folder} does not fit the grader 'mlebench' ({type(error).__name__}: {str(error)[:200]}); prepare or "
                "pull the task again."
            ) from error
        if given:
            raise TaskError(f"{self.test_path} holds the target {given[0]!r}: that gives the answers away; drop it.")

    @property
    def answers_path(self) -> Path:
        """File with the answers."""
        return self.private_dir / str(self.grader_options["answers"])

    @property
    def divided(self) -> bool:
        """Whether the answers have a public and a private part. If not, every split is all rows."""
        return (self.private_dir / PARTS_FILE).is_file()

    def leaderboard(self) -> Leaderboard:
        """The leaderboard, or its thresholds alone."""
        path = self.private_dir / LEADERBOARD
        return (
            _leaderboard(path) if path.is_file() else Leaderboard(self.direction, *self.grader_options["thresholds"])
        )

    def answer_table(self) -> AnswerTable:
        """The answers, read once."""
        state = self.answers_path.stat()
        return _read_answer_table(
            self.answers_path, state.st_mtime_ns, state.st_size, self.sample_path, self.private_dir, self.id_column
        )

    def grade(self, submission: Path | str | bytes, split: Split = "public") -> Grade:
        if split not in (*PARTS, "all"):
            raise TaskError(f"unknown split {split!r}; choose 'public', 'private' or 'all'.")
        try:
            grader = grader_of(str(self.grader_options["competition"]), self.id_column, self.prediction_columns)
            score = score_submission(submission, self.answer_table(), grader, split)
            return self.leaderboard().grade(score)
        except FormError as error:
            return Grade(None, False, str(error))
        except GradingError as error:
            raise GradingError(f"grading a submission of task {self.id!r} failed: {error}") from error
        except Exception as error:
            raise GradingError(
                f"grading a submission of task {self.id!r} failed: {type(error).__name__}: {error}"
            ) from error


@lru_cache(maxsize=64)
def _leaderboard(path: Path) -> Leaderboard:
    return read_leaderboard(path)


def _fields(path: Path | None) -> list[str]:
    """Names of the columns of a CSV file, or of the fields of a JSON list's first object."""
    if path is None:
        return []
    if is_csv(path):
        return read_header(path)
    if path.suffix == ".json":
        rows = json.loads(path.read_text(encoding="utf-8"))
        return list(rows[0]) if isinstance(rows, list) and rows and isinstance(rows[0], dict) else []
    return []


@lru_cache(maxsize=16)
def _read_answer_table(
    path: Path, mtime_ns: int, size: int, sample_path: Path, private_dir: Path, id_column: str | None
) -> AnswerTable:
    import numpy as np

    answers: Any = read_answers(path)
    sample = read_answers(sample_path)
    public, ids = None, None
    if id_column is not None:
        if isinstance(answers, list) or id_column not in answers.columns or id_column not in sample.columns:
            raise TaskError(
                f"{path} or {sample_path} has no column {id_column!r}, the id_column; prepare the task again."
            )
        expected = Counter(map(plain, answers[id_column].tolist()))
        if expected == Counter(map(plain, sample[id_column].tolist())):
            ids = expected
        if (private_dir / PARTS_FILE).is_file():
            header, *rows = read_rows(private_dir / PARTS_FILE)
            parts = [row[header.index(SPLIT_COLUMN)] for row in rows] if SPLIT_COLUMN in header else []
            if len(parts) != len(answers) or set(parts) != set(PARTS):
                raise TaskError(f"{private_dir / PARTS_FILE} does not fit {path}; prepare the task again.")
            public = np.array(parts) == "public"
    limit = size_limit(len(answers) + 1, len(sample.columns) + 1, size + sample_path.stat().st_size)
    return AnswerTable(answers, sample, id_column, public, limit, ids)
