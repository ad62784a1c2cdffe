"""Graders that are programs of others: run in a sandbox of their own, with every outcome told apart."""

from trl_mle.grading.script.sample_form import SampleForm, write_rows
from trl_mle.grading.script.service import Evaluation, Evaluator, StoppedError, close_evaluators, evaluate
from trl_mle.grading.script.verdict import ABOUT_MACHINE, Score, read_score

__all__ = [
    "ABOUT_MACHINE",
    "Evaluation",
    "Evaluator",
    "SampleForm",
    "Score",
    "StoppedError",
    "close_evaluators",
    "evaluate",
    "read_score",
    "write_rows",
]
