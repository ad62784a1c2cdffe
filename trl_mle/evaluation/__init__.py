"""Validation of tasks, and summaries of runs."""

from trl_mle.evaluation.summary import Best, RunSummary, Stretch, summarise
from trl_mle.evaluation.validate import (
    ProgramScore,
    Validation,
    remembered_validation,
    validate_task,
    validate_task_once,
)
from trl_mle.outcomes import read_rollouts

__all__ = [
    "Best",
    "ProgramScore",
    "RunSummary",
    "Stretch",
    "Validation",
    "read_rollouts",
    "remembered_validation",
    "summarise",
    "validate_task",
    "validate_task_once",
]
