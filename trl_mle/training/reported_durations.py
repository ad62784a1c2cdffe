"""The durations that reward functions report by `log_extra`, gathered from all processes and checked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from accelerate.utils import gather_object

from trl_mle.errors import ConfigError, DurationError
from trl_mle.training.weighting.actions import SECONDS_COLUMN, TOKENS_COLUMN, Actions, gathered_actions


@dataclass(frozen=True)
class ReportedDurations:
    """What the reward functions of all processes report for one global batch."""

    durations: torch.Tensor | None
    """Seconds, shape `(B,)`, float64; NaN for a completion that never ran. `None` if nothing is reported."""
    actions: Actions | None
    """The actions of the completions, if they are reported one by one."""
    columns: frozenset[str]
    """Columns of `log_extra` that have one value for every row of this batch."""
    logged: frozenset[str] = frozenset()
    """Columns of `log_extra` that have any value for this batch."""
    problem: str = ""
    """Why reported durations cannot be used, if they need not be."""


def gather_durations(
    logged: Mapping[str, Sequence[Any]],
    lengths: list[int],
    column: str,
    reward_func_names: Sequence[str],
    *,
    needed: bool = True,
) -> ReportedDurations:
    """Gather the durations of a global batch; to be called by all processes.

    Args:
        logged: this process's columns of `log_extra`.
        lengths: number of tokens of each completion of this process.
        column: name of the column with the durations.
        reward_func_names: for error messages.
        needed: durations decide what is trained on. Otherwise those that cannot be used are as good as none.

    Raises:
        DurationError: the wrong number of durations, or impossible ones, where they are `needed`. All processes check the
            gathered values, so either all of them raise or none.
    """
    values = logged.get(column)
    report = {
        "lengths": lengths,
        "values": None if values is None else list(values),
        "columns": {name: len(items) for name, items in logged.items()},
        **{name: logged.get(name) for name in (SECONDS_COLUMN, TOKENS_COLUMN)},
    }
    reports = gather_object([report])
    nothing = ReportedDurations(
        None, None, _full_columns(reports), frozenset(name for report in reports for name in report["columns"])
    )
    try:
        return _checked(reports, nothing, column, reward_func_names)
    # A column of this name may hold anything at all, if it was never meant for this trainer.
    except Exception as error:
        if needed:
            raise
        return replace(nothing, problem=str(error))


def _checked(
    reports: Sequence[Mapping[str, Any]], nothing: ReportedDurations, column: str, reward_func_names: Sequence[str]
) -> ReportedDurations:
    actions = gathered_actions(reports)
    if actions is not None:
        return replace(nothing, durations=actions.row_seconds(), actions=actions)
    if all(report["values"] is None for report in reports):
        return nothing
    seconds: list[float] = []
    for process, report in enumerate(reports):
        rows = len(report["lengths"])
        reported = report["values"] or []
        if len(reported) != rows:
            raise DurationError(
                f'`log_extra("{column}", ...)` got {len(reported)} durations for {rows} completions (process {process}). '
                f"Report exactly one per completion, from exactly one of {list(reward_func_names)}."
            )
        seconds.extend(_as_seconds(value, row, process) for row, value in enumerate(reported))
    return replace(nothing, durations=torch.tensor(seconds, dtype=torch.float64))


def check_clock(reward_funcs: Sequence[Any], clock: str) -> None:
    """Raise `ConfigError` if a reward function that reports the seconds of one clock (`duration_clock`) has another one."""
    for function in reward_funcs:
        if (other := getattr(function, "duration_clock", clock)) != clock:
            raise ConfigError(
                f"`duration_clock` is {clock!r}, but the reward function {getattr(function, '__name__', function)!r} reports the "
                f"seconds of {other!r}. Give both the same, for example `MLESpec(..., duration_clock={clock!r})`."
            )


def no_durations(column: str, weighting: str, reward_func_names: Sequence[str]) -> DurationError:
    """The error for a weighting that needs durations when none are reported."""
    return DurationError(
        f"No reward function reported durations, but `duration_weighting` is {weighting!r}. Call "
        f'`log_extra("{column}", seconds)` in one of {list(reward_func_names)} with one number per completion, or set '
        '`duration_weighting="none"`.'
    )


def _full_columns(reports: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    names = {name for report in reports for name in report["columns"]}
    return frozenset(
        name
        for name in names
        # A process without the column is no hindrance: TRL fills its rows with `None`.
        if all(report["columns"].get(name, len(report["lengths"])) == len(report["lengths"]) for report in reports)
    )


def _as_seconds(value: Any, row: int, process: int) -> float:
    if value is None:
        return math.nan
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = -math.inf
    if math.isinf(number) or number < 0:
        raise DurationError(
            f"Duration {value!r} of completion {row} (process {process}) is not a number of seconds. Report a number >= 0, "
            "or None for a completion that never ran."
        )
    return number
