"""Graders of the competitions in `known.yaml` that equal those of the package `mlebench`: in score, and in what they refuse.

Each takes the submission and the answers as DataFrames with N aligned rows, the name of the id column, and the prediction columns.
What it refuses raises `FormError`. Predictions that the metric cannot take raise `ValueError` or `TypeError`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from trl_mle.grading import FormError, get_metric
from trl_mle.tasks.mlebench.competitions import known
from trl_mle.tasks.mlebench.package import GradeFunction

if TYPE_CHECKING:
    import pandas as pd

OwnGrader = Callable[["pd.DataFrame", "pd.DataFrame", str, tuple[str, ...]], float]


def _need_columns(submission: pd.DataFrame, columns: Collection[str]) -> None:
    if missing := [column for column in columns if column not in submission.columns]:
        raise FormError(f"missing column {missing[0]!r}")


def _log_loss(submission: pd.DataFrame, answers: pd.DataFrame, classes: tuple[str, ...]) -> float:
    truth = answers[list(classes)].to_numpy().argmax(axis=1)
    return get_metric("log_loss").score(truth, submission[list(classes)].to_numpy(dtype=float), len(classes))


def _check_probabilities(values: pd.DataFrame) -> None:
    """Refuse rows whose sum is not 1 up to `isclose` with atol=1e-6, as MLE-bench does, and values outside of [0, 1]."""
    import numpy as np

    if not np.isclose(values.sum(axis=1), 1, atol=1e-6).all():
        raise FormError("each row of probabilities must have the sum 1")
    if not ((values >= 0) & (values <= 1)).all().all():
        raise FormError("probabilities must be between 0 and 1")


def log_loss_id_first(
    submission: pd.DataFrame, answers: pd.DataFrame, id_column: str, columns: tuple[str, ...]
) -> float:
    """Multi-class log loss. The id is the first column, and the others are the classes."""
    if submission.shape[1] != len(columns) + 1:
        raise FormError(f"the submission has {submission.shape[1]} columns; expected {len(columns) + 1}")
    if submission.columns[0] != id_column:
        raise FormError(f"the first column must be {id_column!r}")
    _check_probabilities(submission.iloc[:, 1:])
    _need_columns(submission, columns)
    return _log_loss(submission, answers, columns)


def log_loss_these_columns(
    submission: pd.DataFrame, answers: pd.DataFrame, id_column: str, columns: tuple[str, ...]
) -> float:
    """Multi-class log loss. The submission has the id, the classes and no other column."""
    _need_columns(submission, columns)
    if extra := set(submission.columns) - {id_column, *columns}:
        raise FormError(f"unexpected column {min(extra)!r}")
    _check_probabilities(submission[list(columns)])
    return _log_loss(submission, answers, columns)


def log_loss_with_columns(
    submission: pd.DataFrame, answers: pd.DataFrame, id_column: str, columns: tuple[str, ...]
) -> float:
    """Multi-class log loss. Other columns do not count, and sums are rounded to 6 decimals."""
    _need_columns(submission, columns)
    values = submission[list(columns)]
    if not ((values >= 0) & (values <= 1)).all().all():
        raise FormError("probabilities must be between 0 and 1")
    if not values.sum(axis=1).round(6).eq(1).all():
        raise FormError("each row of probabilities must have the sum 1")
    return _log_loss(submission, answers, columns)


def roc_auc(submission: pd.DataFrame, answers: pd.DataFrame, id_column: str, columns: tuple[str, ...]) -> float:
    """Area under the ROC curve. Other columns do not count."""
    import numpy as np

    (column,) = columns
    _need_columns(submission, columns)
    values = submission[column]
    if values.min() < 0 or values.max() > 1:
        raise FormError(f"column {column!r} must hold probabilities between 0 and 1")
    positive = values.to_numpy(dtype=float)
    if np.isnan(positive).any():
        raise FormError(f"missing value in column {column!r}")
    return get_metric("roc_auc").score(
        answers[column].to_numpy(dtype=int), np.column_stack([1.0 - positive, positive]), 2
    )


def jaccard(submission: pd.DataFrame, answers: pd.DataFrame, id_column: str, columns: tuple[str, ...]) -> float:
    """Mean word-level Jaccard similarity. An empty cell is an empty text, and two empty texts cannot be compared."""
    (column,) = columns
    _need_columns(submission, columns)
    truth, predicted = (table[column].fillna("").astype(str).tolist() for table in (answers, submission))
    if any(not one.split() and not other.split() for one, other in zip(truth, predicted, strict=True)):
        raise FormError(f"an empty text in column {column!r} where it cannot be compared")
    return get_metric("jaccard").score(truth, predicted)


def rmsle(submission: pd.DataFrame, answers: pd.DataFrame, id_column: str, columns: tuple[str, ...]) -> float:
    """Root mean squared logarithmic error, averaged over the columns. Other columns do not count."""
    import numpy as np

    _need_columns(submission, columns)
    metric = get_metric("rmsle")
    scores = []
    for column in columns:
        values = submission[column].to_numpy(dtype=float)
        if not np.isfinite(values).all():
            raise FormError(f"column {column!r} holds a missing or an infinite value")
        scores.append(metric.score(answers[column].to_numpy(dtype=float), values))
    return sum(scores) / len(scores)


GRADERS: dict[str, OwnGrader] = {
    grader.__name__: grader
    for grader in (log_loss_id_first, log_loss_these_columns, log_loss_with_columns, roc_auc, jaccard, rmsle)
}
"""Each grader by its name in `known.yaml`."""


def own_grader(competition: str, id_column: str | None, columns: tuple[str, ...]) -> GradeFunction | None:
    """The grader of `competition` that needs no other package, or `None` if there is none."""
    name = known().get(competition, {}).get("own_grader")
    if name is None or id_column is None:
        return None
    grader = GRADERS[name]
    return lambda submission, answers: grader(submission, answers, id_column, columns)
