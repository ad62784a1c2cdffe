"""Validation of tasks, the best of n, and reports on a run."""

from trl_mle.evaluation.summary import Best, RunSummary, Stretch, read_rollouts, summarise
from trl_mle.evaluation.validate import (
    ProgramScore,
    Validation,
    remembered_validation,
    validate_task,
    validate_task_once,
)
from trl_mle.reports.terminal import report_run, scores_section

__all__ = [
    "Best",
    "ProgramScore",
    "RunSummary",
    "Stretch",
    "Validation",
    "read_rollouts",
    "remembered_validation",
    "report_run",
    "scores_section",
    "summarise",
    "validate_task",
    "validate_task_once",
]
