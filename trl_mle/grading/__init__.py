"""From a submission to a `Grade`: form checks, metrics, and the boundary between the policy's fault and the grader's."""

from trl_mle.grading.answers import PARTS, SPLIT_COLUMN, AnswerKey
from trl_mle.grading.form import MAX_SUBMISSION_BYTES, FormError
from trl_mle.grading.grader import grade_submission
from trl_mle.grading.metrics import METRICS, Metric, get_metric

__all__ = [
    "MAX_SUBMISSION_BYTES",
    "METRICS",
    "PARTS",
    "SPLIT_COLUMN",
    "AnswerKey",
    "FormError",
    "Metric",
    "get_metric",
    "grade_submission",
]
