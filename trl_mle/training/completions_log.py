"""TRL's log of completions (`GRPOTrainer._logs`), kept such that every column has one value per completion.

TRL shows the columns side by side. Its log has room for one training batch, and its columns of `log_extra` are only as long as
what reward functions report, which differs between training and evaluation.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection
from typing import Any


def fit_log(logs: dict[str, Any], rows: int) -> None:
    """Give the log room for exactly `rows` completions."""
    if logs["prompt"].maxlen == rows:
        return
    for name in ("images", "prompt", "completion", "advantages"):
        logs[name] = deque(logs[name], maxlen=rows)
    for name in ("rewards", "extra"):
        columns = {column: deque(values, maxlen=rows) for column, values in logs[name].items()}
        logs[name] = defaultdict(lambda: deque(maxlen=rows), columns)


def align_columns(
    logs: dict[str, Any], rows: int, columns: Collection[str], uneven: Collection[str] = (), *, shown: bool = False
) -> None:
    """Fill columns of `log_extra` with `None`, after a batch of `rows` completions.

    Args:
        columns: those that have one value per completion of this batch.
        uneven: those that have another number of values for it. They stay as TRL has them.
        shown: TRL makes a table of the columns, which fails if one is too short.
    """
    length = len(logs["prompt"])
    for name, column in logs["extra"].items():
        if name not in columns and name not in uneven:
            column.extend([None] * rows)
        if name in uneven and not shown:
            continue
        # A column that is new has no value for earlier completions that are still in the log.
        column.extendleft([None] * (length - len(column)))
