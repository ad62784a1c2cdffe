"""Metrics of each task apart, in a run on several tasks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from trl_mle.types import Outcome

TASKS_SHOWN = 16
"""Tasks that have metrics of their own, the first ones of a run. The others share those of `task/others`."""


def log_task_metrics(
    outcomes: Sequence[Outcome], task_ids: Collection[str], log_metric: Callable[[str, float], None]
) -> None:
    """Log `task/<id>/reward`, `valid_share`, `score_reward` and `public_score` for the tasks in `outcomes`.

    Each value is logged by itself. TRL then takes the mean over all completions of a task, also if processes have different
    numbers of them. A run with one task has the same numbers under `programs/`, and logs none here.

    Args:
        task_ids (collection of `str`):
            Ids of all tasks of the run, in order.
    """
    if len(task_ids) < 2:
        return
    shown = set(list(task_ids)[:TASKS_SHOWN])
    for outcome in outcomes:
        # Nothing is known about the policy after a fault of the infrastructure.
        if outcome.reward is None:
            continue
        is_shown = outcome.task_id in shown
        prefix = f"task/{outcome.task_id}" if is_shown else "task/others"
        log_metric(f"{prefix}/reward", outcome.reward)
        log_metric(f"{prefix}/valid_share", float(outcome.kind == "valid"))
        if outcome.kind != "valid":
            continue
        # What the reward makes of it depends on `reward_aggregation`.
        if (score := outcome.reward_parts.get("score")) is not None:
            log_metric(f"{prefix}/score_reward", score)
        # Scores of different tasks have different units.
        if is_shown and outcome.public is not None and outcome.public.score is not None:
            log_metric(f"{prefix}/public_score", outcome.public.score)
