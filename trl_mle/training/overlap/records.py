"""What is kept of overlapped completions: columns of a batch that is trained on, and records of what never is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from trl_mle.training.overlap.in_flight import Row
from trl_mle.training.weighting.actions import SECONDS_COLUMN


def batch_columns(rows: Sequence[Row], extra_names: Iterable[str], step: int, duration_column: str) -> dict[str, list]:
    """Column name -> values, for this process's `rows` of a batch that is trained on at `step`.

    Args:
        extra_names: columns that any reward function has reported on any process. All processes log the same columns, those
            of their own rows or not, because TRL gathers them one by one.
        duration_column: the column that durations are read from.
    """
    names = set(extra_names)
    for row in rows:
        # An infrastructure fault has no duration, and was not lost for it.
        if row.lost and not row.given_up:
            # It ran for at least nearly as long as was waited for it; queues are part of that.
            ran = {duration_column: row.waited_s, SECONDS_COLUMN: [row.waited_s]}
            row.columns |= {name: seconds for name, seconds in ran.items() if name in names}
        row.columns.setdefault("action_censored", row.lost and not row.given_up)
    columns = {
        name: [value for row in rows for value in row.uneven.get(name, [row.columns.get(name)])]
        for name in sorted(names, key=str)
    }
    columns["action_censored"] = [row.columns["action_censored"] for row in rows]
    columns["generated_at_step"] = [row.generated_at for row in rows]
    columns["staleness"] = [step - row.generated_at for row in rows]
    columns["old_log_prob"] = [math.fsum(row.old_logps) for row in rows]
    columns["waited_s"] = [row.waited_s for row in rows]
    columns["lost"] = [row.lost for row in rows]
    columns["given_up"] = [row.given_up for row in rows]
    return columns


def dropped_record(
    row: Row, reason: str, extra_names: Iterable[str], reward_func_names: list[str], step: int
) -> dict[str, Any]:
    """Column name -> value, for a completion that is given up at `step`."""
    return {
        **{name: row.columns.get(name) for name in sorted(extra_names, key=str)},
        "step": step,
        "prompt": row.inputs["prompt"],
        "completion": row.completion,
        "generated_at_step": row.generated_at,
        "staleness": step - row.generated_at,
        "old_log_prob": math.fsum(row.old_logps),
        "waited_s": row.waited_s,
        "lost": True,
        "lost_because": reason,
        "finished": row.rewards is not None,
        **dict(zip(reward_func_names, row.rewards_for(reward_func_names), strict=True)),
    }
