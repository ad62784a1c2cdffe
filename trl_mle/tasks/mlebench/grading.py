"""Grades a submission with the function of `mlebench` for the competition, or with one of ours that equals it.

Every submission is graded on all rows first, so that its validity is the same for each part of the answers. An exception of a
grader is the policy's fault if the grader can score the sample submission, and a `GradingError` if it cannot.
"""

from __future__ import annotations

import math
import numbers
from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trl_mle.errors import GradingError, TaskError
from trl_mle.grading import MAX_SUBMISSION_BYTES, FormError
from trl_mle.grading.form import read_bytes
from trl_mle.tasks.mlebench.own_graders import own_grader
from trl_mle.tasks.mlebench.package import GradeFunction, competition_dir, grade_function
from trl_mle.tasks.mlebench.tables import plain, read_submission
from trl_mle.types import Split

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

REFUSALS = {"InvalidSubmissionError", "ParticipantVisibleError"}
"""Names of the exceptions by which graders say that a submission is invalid, in words for whoever wrote it."""
_CELL_BYTES = 512
_SHOWN = 300


@dataclass(eq=False)
class AnswerTable:
    """The answers of a competition, and what a submission is checked against."""

    answers: Any
    """A DataFrame of N rows, or a list."""
    sample: pd.DataFrame
    """The sample submission."""
    id_column: str | None
    """Column by which rows belong together; `None` if there is none."""
    public: np.ndarray | None
    """(N,) booleans: rows of the public part. `None`: the answers are not divided."""
    max_bytes: int
    """Largest submission that is read."""
    ids: Counter[Hashable] | None = None
    """How often each id must occur in a submission. `None`: the grader alone judges ids."""
    works: dict[Split, bool] = field(default_factory=dict)
    """Whether the grader can score the sample submission, by split; filled when it is asked."""

    @property
    def max_rows(self) -> int:
        """Most rows of a submission. One more is enough to be refused, where ids are checked."""
        rows = max(len(self.answers), len(self.sample))
        return rows if self.ids is not None else 10 * rows + 1000

    @property
    def max_columns(self) -> int:
        """Most columns of a submission."""
        return 100 + 2 * len(self.sample.columns)


def size_limit(rows: int, columns: int, file_bytes: int) -> int:
    """Size limit of a submission in bytes, where sample and answers together have `file_bytes`."""
    honest = 4 * file_bytes
    return min(max(MAX_SUBMISSION_BYTES, honest), max(64 * 1024 + rows * columns * _CELL_BYTES, honest))


def grader_of(competition: str, id_column: str | None, columns: tuple[str, ...]) -> GradeFunction:
    """The grader of `competition`: that of `mlebench` if it is installed, else ours.

    Raises:
        TaskError: there is none, or `mlebench` cannot be imported.
    """
    if competition_dir(competition) is not None:
        return grade_function(competition)
    grader = own_grader(competition, id_column, columns)
    if grader is None:
        raise TaskError(
            f"'mlebench:{competition}': its grader is part of the package mlebench, which is not installed. Install it from a "
            f"clone of github.com/openai/mle-bench."
        )
    return grader


def score_submission(submission: Path | str | bytes, table: AnswerTable, grader: GradeFunction, split: Split) -> float:
    """The finite score of a submission on the rows of `split`.

    Raises:
        FormError: the submission is invalid; the message says why.
        GradingError: the grader is broken, and nothing is known about the submission.
    """
    data = submission if isinstance(submission, (bytes, bytearray)) else read_bytes(Path(submission), table.max_bytes)
    if len(data) > table.max_bytes:
        raise FormError(f"the submission has {len(data)} bytes, more than {table.max_bytes}")
    frame = read_submission(bytes(data), table.max_rows, table.max_columns)
    _check_ids(frame, table)
    score = _run(grader, frame, table, "all")
    if split != "all" and table.public is not None:
        score = _run(grader, frame, table, split)
    return score


def _check_ids(frame: pd.DataFrame, table: AnswerTable) -> None:
    column = table.id_column
    if table.ids is None or column is None:
        return
    if column not in frame.columns:
        raise FormError(f"missing column {column!r}")
    given = Counter(map(plain, frame[column].tolist()))
    if given == table.ids:
        return
    if extra := [id_ for id_ in given if id_ not in table.ids]:
        what = "an empty id" if extra[0] is None else f"unknown id {_show(extra[0])}"
        raise FormError(f"{what} in column {column!r}; use the ids of the sample submission")
    if twice := [id_ for id_, times in given.items() if times > table.ids[id_]]:
        raise FormError(f"id {_show(twice[0])} occurs {given[twice[0]]} times in column {column!r}")
    missing = [id_ for id_, times in table.ids.items() if given[id_] < times]
    raise FormError(f"{len(missing)} of {len(table.ids)} ids are missing, for example {_show(missing[0])}")


def _select(frame: pd.DataFrame, table: AnswerTable, split: Split) -> tuple[pd.DataFrame, Any]:
    """The rows of `split` of a submission and of the answers, in the answers' order if ids are unique."""
    import pandas as pd

    answers, column = table.answers, table.id_column
    if column is None or not isinstance(answers, pd.DataFrame):
        return frame.copy(), answers if isinstance(answers, list) else answers.copy()
    if table.ids is not None and answers[column].is_unique:
        # A grader that matches rows by their position gets them in the right one.
        frame = frame.iloc[pd.Index(frame[column]).get_indexer(answers[column])]
    if table.public is not None and split != "all":
        answers = answers[table.public if split == "public" else ~table.public]
        frame = frame[frame[column].isin(answers[column])]
    return frame.reset_index(drop=True), answers.reset_index(drop=True)


def _run(grader: GradeFunction, frame: pd.DataFrame, table: AnswerTable, split: Split) -> float:
    try:
        score = grader(*_select(frame, table, split))
    except FormError:
        raise
    except (MemoryError, OSError, ImportError) as error:
        raise GradingError(f"the grader failed: {type(error).__name__}: {error}") from error
    except Exception as error:
        if type(error).__name__ in REFUSALS:
            raise FormError(str(error)[:_SHOWN]) from error
        if not can_score(grader, table, split):
            raise GradingError(f"the grader failed: {type(error).__name__}: {error}") from error
        # The message of such an error may show answers, so it is not passed on.
        raise FormError(_complaint(frame, table, error)) from error
    if not isinstance(score, numbers.Real):
        raise GradingError(f"the grader gave {score!r}, not a number")
    if not math.isfinite(score):
        raise FormError(f"the score of these predictions is {float(score)}, not a finite number")
    return float(score)


def can_score(grader: GradeFunction, table: AnswerTable, split: Split) -> bool:
    """Whether the grader gives a score to a submission of the right form. That it does not may pass, so it is not remembered."""
    if not table.works.get(split) and any(_scores(grader, control, table, split) for control in _controls(table)):
        table.works[split] = True
    return table.works.get(split, False)


def _controls(table: AnswerTable) -> Iterator[pd.DataFrame]:
    """Submissions of the right form: the sample, the sample without missing values, and the answers."""
    yield table.sample
    filled = table.sample.copy()
    for column in filled.columns[filled.isna().any()]:
        filled[column] = "x"
    yield filled
    if set(table.sample.columns) <= set(getattr(table.answers, "columns", ())):
        yield table.answers[list(table.sample.columns)]


def _scores(grader: GradeFunction, control: pd.DataFrame, table: AnswerTable, split: Split) -> bool:
    try:
        return math.isfinite(grader(*_select(control, table, split)))
    except Exception:
        return False


def _complaint(frame: pd.DataFrame, table: AnswerTable, error: Exception) -> str:
    """Why a grader may have failed on `frame`, from what can be seen in it."""
    import pandas as pd

    for column in table.sample.columns:
        if column not in frame.columns:
            return f"missing column {column!r}"
        if not pd.api.types.is_numeric_dtype(table.sample[column]):
            continue
        values = pd.to_numeric(frame[column], errors="coerce")
        if frame[column].isna().any():
            return f"missing value in column {column!r}"
        if values.isna().any():
            return f"{_show(frame[column][values.isna()].iloc[0])} in column {column!r} is not a number"
        if values.abs().max() == math.inf:
            return f"an infinite value in column {column!r}"
    return f"the grader cannot score these predictions ({type(error).__name__})"


def _show(value: object) -> str:
    text = str(value)
    return repr(text if len(text) <= 60 else text[:60] + "...")
