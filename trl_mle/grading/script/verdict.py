"""From what an evaluator did to a score, to the policy's fault, or to the grader's.

The submission has passed the form checks, and the evaluator has scored the sample submission. So it works, and has ended
otherwise for the content of this submission alone. That is the policy's fault if the evaluator says so: by `raise`, `assert`,
an exit code, a score of `null` or words in place of a score. It also is if an error about values got through (a negative
probability, an unknown label, text that no parser reads), or any error where the submission has columns of free text
(`ScriptTask`). Every other end is a fault of the evaluator, and never a reward.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any

from trl_mle.errors import GradingError
from trl_mle.grading.form import FormError
from trl_mle.grading.script.service import Evaluation

ABOUT_VALUES = frozenset(
    {"ValueError", "LookupError", "ArithmeticError", "AssertionError", "SyntaxError", "RecursionError"}
)
"""Exceptions that a value can cause in correct code. Others, such as `TypeError`, mean a mistake in the evaluator if all that
a submission can choose are finite numbers."""
ABOUT_MACHINE = frozenset({"MemoryError", "OSError", "ImportError"})
"""Exceptions that are about the machine or the installation, whatever the submission holds."""
MOST_REASON = 300
MOST_STARTS = 20
"""Lines that may begin the object."""


@dataclass(frozen=True)
class Score:
    """What a working evaluator says of one submission."""

    score: float
    lower_is_better: bool | None
    """`None` if the evaluator does not say."""
    thresholds: dict[str, float]
    """Score needed for each of `gold`, `silver`, `bronze` and `median`, as far as the evaluator says."""


def read_score(evaluation: Evaluation, may_quote: bool = False) -> Score:
    """The score in what the evaluator printed.

    Args:
        evaluation (`Evaluation`):
            What the evaluator did.
        may_quote (`bool`, *optional*, defaults to `False`):
            Whether the evaluator may print texts of the submission. If so, JSON on the last line may be such a text, and only
            JSON that is all of its output counts.

    Raises:
        FormError: the evaluator has refused the submission, has printed no score, or the score is not a finite number.
        GradingError: the evaluator has failed.
    """
    if evaluation.error and not evaluation.raised and not ABOUT_VALUES & set(evaluation.error):
        raise GradingError(
            f"the evaluator failed with {evaluation.error[0]}: {evaluation.message}\n{evaluation.trace}"
        )
    if evaluation.exit_code:
        raise FormError(f"the evaluator refuses the submission: {_reason(evaluation)}")
    printed = _printed(evaluation.stdout, may_quote)
    if printed is None and '"score"' in evaluation.stdout and not may_quote:
        raise GradingError(f"the evaluator printed a score among other words: {_short(evaluation.stdout)!r}")
    if printed is None:
        raise FormError(f"the evaluator printed no JSON object but {_short(evaluation.stdout)!r}")
    why = next((str(printed[key]) for key in ("error", "message", "reason") if printed.get(key)), "")
    said = f": {_short(why)}" if why else ""
    if "score" not in printed:
        raise FormError(
            f"the evaluator gives these predictions no `score`{said or f' but {_short(evaluation.stdout)}'}"
        )
    score = _number(printed["score"])
    if score is None:
        raise FormError(f"the score of these predictions is {printed['score']!r}, not a finite number{said}")
    names = {name: _number(printed.get(f"{name}_threshold")) for name in ("gold", "silver", "bronze", "median")}
    thresholds = {name: value for name, value in names.items() if value is not None}
    return Score(score, _truth(printed.get("is_lower_better")), thresholds)


def _printed(stdout: str, may_quote: bool) -> dict[str, Any] | None:
    """The JSON object that is all of the output or, below warnings, the end of it."""
    text = stdout.strip()
    starts = [] if may_quote else [match.start() for match in re.finditer(r"^\{", text, re.MULTILINE)][-MOST_STARTS:]
    for start in (0, *starts):
        try:
            value = json.loads(text[start:])
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            return value
    return None


def _reason(evaluation: Evaluation) -> str:
    text = evaluation.message
    if not text:
        try:
            printed = json.loads(evaluation.stdout.strip())
            text = str(printed.get("error") or printed.get("message") or "")
        except (ValueError, AttributeError, RecursionError):
            text = ""
    text = text or evaluation.stdout.strip() or f"exit code {evaluation.exit_code}"
    kind = f"{evaluation.error[0]}: " if evaluation.error else ""
    return _short(kind + text)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= MOST_REASON else text[: MOST_REASON - 3] + "..."


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _truth(value: object) -> bool | None:
    if isinstance(value, (bool, int, float)):
        return bool(value)
    if isinstance(value, str):
        return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}.get(
            value.strip().lower()
        )
    return None
