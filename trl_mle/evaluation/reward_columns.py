"""Which columns of rollouts are the rewards of TRL reward functions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from trl_mle.evaluation.run_files import read_log

if TYPE_CHECKING:
    import pandas as pd

_LOGGED = re.compile(r"rewards/(.+)/mean")
"""Name of TRL's metric of a reward function."""
_TAKEN = ("step", "prompt", "completion", "advantage")
"""Columns of every rollout. A reward function with such a name has a column `logged_step`."""


def reward_columns(run_dir: Path, rollouts: pd.DataFrame) -> dict[str, str]:
    """Name of each reward function -> its column in `rollouts`, in the order of the functions.

    Rollouts do not say which of their columns are rewards, so the names come from the metrics that TRL logs: `metrics.jsonl` of
    the run, or the state of its newest checkpoint. A run without both, or with damaged ones, has no names.

    Args:
        run_dir (`Path`):
            The `output_dir` of a run.
        rollouts (`pandas.DataFrame`):
            Its rollouts, from `read_rollouts`.
    """
    found = {}
    for name in dict.fromkeys(_logged_names(run_dir)):
        column = f"logged_{name}" if name in _TAKEN else name
        if column in rollouts and rollouts[column].map(lambda value: isinstance(value, (int, float))).all():
            found[name] = column
    return found


def _logged_names(run_dir: Path) -> Iterator[str]:
    for entry in read_log(run_dir):
        names = [match[1] for key in entry if (match := _LOGGED.fullmatch(key))]
        if names:
            # Every entry of a run has the same functions.
            yield from names
            return
