"""The best checkpoint by a metric of evaluation (`metric_for_best_model`), with the metrics that TRL and reward functions log."""

from __future__ import annotations

import difflib
import logging
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from trl_mle.errors import ConfigError

logger = logging.getLogger(__name__)


def evaluated_metrics(
    returned: Mapping[str, Any], log_history: Sequence[Mapping[str, Any]], step: int
) -> dict[str, Any]:
    """Metrics of the evaluations at `step`: those that `Trainer.evaluate` returned, and those that were logged with them.

    TRL adds its own metrics (`eval_reward`, `eval_entropy`) and those of reward functions only while it logs.
    """
    logged: dict[str, Any] = {}
    for entry in reversed(log_history):
        if entry.get("step") != step:
            break
        logged = {**{name: value for name, value in entry.items() if name.startswith("eval_")}, **logged}
    return {**logged, **returned}


def has_metric(
    metric: str | None,
    metrics: Mapping[str, Any],
    log_history: Sequence[Mapping[str, Any]],
    occasional: Collection[str] = (),
) -> bool:
    """Whether this evaluation has a number for `metric_for_best_model`. Without one it is not the best.

    Args:
        metric (`str`, *optional*):
            `metric_for_best_model`.
        metrics (mapping from `str`):
            Metrics of this evaluation, named `eval_...`.
        log_history (sequence of mappings):
            What was logged before.
        occasional (collection of `str`, *optional*):
            Metrics that reward functions log at times only: their attributes `occasional_metrics`.

    Raises:
        ConfigError: there is no such metric, neither in this evaluation nor in anything logged so far nor in `occasional`.
    """
    if metric is None:
        return True
    name = metric if metric.startswith("eval_") else f"eval_{metric}"
    value = metrics.get(name)
    if value is not None and math.isfinite(value):
        return True
    # Some metrics exist only at times: the mean score of valid programs needs a valid program.
    plain = name.removeprefix("eval_")
    known = plain in occasional or name in metrics or any(name in entry or plain in entry for entry in log_history)
    if not known:
        near = difflib.get_close_matches(name, metrics, n=3) or sorted(metrics)
        raise ConfigError(
            f"`metric_for_best_model` is {metric!r}, but an evaluation has no such metric. Nearest: "
            f"{', '.join(map(repr, near))}. `eval_reward` is always there."
        )
    logger.warning("This evaluation has no value of `%s`. Its checkpoint is not taken for the best.", name)
    return False
