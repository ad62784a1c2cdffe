"""`grade_submission`: from a submission to a `Grade`.

A fault that only the submission can have caused is the policy's: it gives an invalid `Grade`. A fault after the submission
has passed the form checks is the grader's or the task's: it raises `GradingError` and is never a reward.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from trl_mle.errors import GradingError, TaskError
from trl_mle.grading.answers import AnswerKey
from trl_mle.grading.form import FormError, Table, check_form, parse_csv, read_bytes, size_limit
from trl_mle.types import Grade, Split, TaskSpec

if TYPE_CHECKING:
    import pandas as pd


def grade_submission(
    submission: Path | str | bytes,
    answers: pd.DataFrame | Path | AnswerKey,
    spec: TaskSpec,
    split: Split = "public",
    max_bytes: int | None = None,
) -> Grade:
    """Score `submission` on the rows of `split`. The form of all rows is checked, whatever the split.

    The score of several targets is the mean of the metric over them.

    Args:
        submission (`Path`, `str` or `bytes`):
            Path of the file that the program wrote, or its content.
        answers (`DataFrame`, `Path` or `AnswerKey`):
            Answers with the columns id, targets and `split`.
        spec (`TaskSpec`):
            Task whose metric and columns are used.
        split (`str`, *optional*, defaults to `"public"`):
            Part of the answers: `"public"`, `"private"` or `"all"`.
        max_bytes (`int`, *optional*):
            Size of the largest submission that is accepted, in bytes. Defaults to `MAX_SUBMISSION_BYTES`, or to more if the task
            has so many predictions that honest ones, written in full, need it.

    Returns:
        [`Grade`]: the raw score in the unit of the metric, or the reason why the submission is invalid.

    Raises:
        TaskError: `split` is not one of the three.
        GradingError: the grader or the task is broken, and nothing is known about the submission.
    """
    if split not in ("public", "private", "all"):
        raise TaskError(f"unknown split {split!r}; choose 'public', 'private' or 'all'.")
    try:
        key = _answer_key(answers, spec)
        table = _read(submission, len(key.ids), size_limit(key, spec, max_bytes))
        predictions = check_form(table, key, spec)
        rows = key.rows(split)
        scores = [
            key.metric.score(target.truth[rows], predicted[rows], len(target.classes))
            for target, predicted in zip(key.targets, predictions, strict=True)
        ]
        score = sum(scores) / len(scores)
    except FormError as error:
        return Grade(None, False, str(error))
    except Exception as error:
        raise GradingError(
            f"grading a submission of task {spec.id!r} failed: {type(error).__name__}: {error}"
        ) from error
    if not math.isfinite(score):
        return Grade(None, False, f"the {key.metric.name} of these predictions is {score}, not a finite number")
    return Grade(score, True)


def _answer_key(answers: pd.DataFrame | Path | AnswerKey, spec: TaskSpec) -> AnswerKey:
    if isinstance(answers, AnswerKey):
        return answers
    if isinstance(answers, (str, Path)):
        return AnswerKey.from_csv(Path(answers), spec)
    return AnswerKey.from_frame(answers, spec)


def _read(submission: Path | str | bytes, max_rows: int, max_bytes: int) -> Table:
    data = submission if isinstance(submission, (bytes, bytearray)) else read_bytes(Path(submission), max_bytes)
    try:
        return parse_csv(bytes(data), max_rows, max_bytes)
    except (FormError, MemoryError, ImportError, OSError):  # the last three are the machine's
        raise
    except Exception as error:
        # Parsing depends on the submission alone, so the submission has caused any error of it.
        raise FormError(f"the submission cannot be read as CSV: {type(error).__name__}: {error}") from error
