"""Evaluation of policies, validation of tasks, and summaries of runs."""

import warnings
from importlib import import_module
from typing import Any

from trl_mle.evaluation.run import evaluate, evaluate_async
from trl_mle.evaluation.settings import EvaluationSettings, EvaluationTiming
from trl_mle.evaluation.summary import Best, RunSummary, Stretch, summarise
from trl_mle.evaluation.table import EvaluationTable, read_table
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
    "EvaluationSettings",
    "EvaluationTable",
    "EvaluationTiming",
    "ProgramScore",
    "RunSummary",
    "Stretch",
    "Validation",
    "evaluate",
    "evaluate_async",
    "read_rollouts",
    "read_table",
    "remembered_validation",
    "summarise",
    "validate_task",
    "validate_task_once",
]

_OF_REPORTS = ("report_run", "scores_section")


def __getattr__(name: str) -> Any:
    """Names of `trl_mle.reports` that programs may import from here."""
    if name not in _OF_REPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(
        f"Import `{name}` from `trl_mle.reports`; `trl_mle.evaluation` will not have it.", FutureWarning, stacklevel=2
    )
    # By name and on use: reports read evaluations, so an import from here would close a circle.
    return getattr(import_module("trl_mle.reports"), name)
