"""Private scores between baseline and reference, and what the samples of a policy on a task say."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trl_mle.evaluation import Validation
from trl_mle.evaluation.estimators import best_of_k
from trl_mle.tasks import Task
from trl_mle.types import Outcome

BEST_OF = 16
SLOW_FAMILIES = re.compile(r"HistGradientBoosting|GridSearchCV|Stacking")
"""Names in the programs of the demo policy's slow model families: boosting, tuned boosting, stacking."""


@dataclass(frozen=True)
class Scale:
    """The scale of the figures of a task: private scores, 0 at the baseline and 1 at the reference."""

    task: Task
    baseline: float
    reference: float

    @classmethod
    def of(cls, task: Task, validation: Validation) -> Scale:
        """The scale by the measured private scores of the task's own programs."""
        assert validation.baseline is not None and validation.reference is not None
        return cls(task, validation.baseline.private, validation.reference.private)

    def value(self, private: float | None) -> float:
        """A private score on the scale. No score, and one below the baseline, is 0: the baseline is always at hand."""
        if private is None or not math.isfinite(private):
            return 0.0
        return max((private - self.baseline) / (self.reference - self.baseline), 0.0)

    def choice(self, public: float | None) -> float:
        """A public score where higher is better; NaN without one."""
        if public is None:
            return math.nan
        return public if self.task.direction == "maximize" else -public


def sample_figures(outcomes: Sequence[Outcome], scale: Scale, several: int | None = None) -> dict[str, Any]:
    """Figures of a policy's samples on a task. Infrastructure faults are left out.

    Args:
        outcomes (sequence of [`Outcome`]):
            The samples, in their order.
        scale ([`Scale`]):
            Of the task.
        several (`int`, *optional*):
            Size of a further best-of-n, such as the number of programs of a training.
    """
    known = [outcome for outcome in outcomes if outcome.kind != "fault"]
    valid = [outcome for outcome in known if outcome.kind == "valid"]
    private = [outcome.private.score if outcome.private is not None else None for outcome in known]
    values = np.array([scale.value(score) for score in private], dtype=float)
    choice = np.array(
        [
            scale.choice(outcome.public.score if outcome.kind == "valid" and outcome.public is not None else None)
            for outcome in known
        ],
        dtype=float,
    )
    found: dict[str, Any] = {
        "samples": len(known),
        "score": _mean(values),
        "valid share": _mean(np.array([outcome.kind == "valid" for outcome in known], dtype=float)),
        "slow share": _mean(
            np.array([bool(SLOW_FAMILIES.search(outcome.program.code)) for outcome in valid if outcome.program], float)
        ),
        "score of the best of 16": best_of_k(choice, values, BEST_OF, 0.0) if len(known) >= BEST_OF else None,
    }
    if several is not None:
        found["best program"] = best_of_k(choice, values, min(several, len(known)), 0.0) if known else None
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in found.items()}


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None
