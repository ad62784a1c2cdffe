"""The score transform of a new task: what the sample submission is worth, at any scale of the target."""

from __future__ import annotations

from trl_mle.errors import TaskError
from trl_mle.grading import PARTS, AnswerKey, Metric, grade_submission
from trl_mle.tasks.assemble import TaskTables
from trl_mle.types import ScoreTransform, TaskSpec

DIGITS = 12
"""Significant digits of the anchors. A number of decimals would be wrong for small scores."""


def sample_transform(tables: TaskTables, spec: TaskSpec, metric: Metric) -> tuple[ScoreTransform, str]:
    """The transform that gives -0.5 to the sample submission and 1 to a perfect one, and a comment that says so.

    Raises:
        TaskError: the sample submission has no score in a part of the answers, or it is perfect.
    """
    key = AnswerKey.from_frame(tables.answers, spec)
    sample = tables.sample.to_csv(index=False).encode()
    for part in PARTS:
        grade = grade_submission(sample, key, spec, part)
        if grade.score is None:
            raise TaskError(
                f"{metric.name} is not defined in the {part} part of the answers for constant predictions ({grade.reason}). "
                f"{_advice(metric, 'large')}"
            )
    score = grade_submission(sample, key, spec, "all").score
    # The sample's score shall be a quarter of the way from worst (-1) to best (1), which is -0.5.
    worst = None if score is None else float(f"{score - (metric.best - score) / 3:.{DIGITS}g}")
    if score is None or worst is None or worst == metric.best or abs(worst - metric.best) < 1e-300:
        raise TaskError(
            f"the sample submission, which is constant, has the {metric.name} {score}, as good as a perfect one. "
            f"{_advice(metric, 'small')}"
        )
    comment = (
        f"The transform gives the sample submission ({metric.name} {score:.6g}) -0.5 and a perfect one 1.\n"
        f"Set `best` to the best score that you think can be reached."
    )
    return ScoreTransform("linear", worst, metric.best, metric.best), comment


def _advice(metric: Metric, size: str) -> str:
    advice = "Give more rows or choose another metric."
    if metric.predicts != "number":
        return advice
    unit = "larger" if size == "large" else "smaller"
    return f"{advice} If the values are too {size}, write them in a {unit} unit; if they hardly differ, subtract a constant."
