"""The rewards of actions that reward functions report by `log_extra`, gathered from all processes and checked.

`log_extra("per_action_rewards", rows)` gives, for each completion, the list of its actions' rewards in order: what the episode
earned by each. Actions are those of `per_action_durations` and `action_tokens` (`trl_mle.training.weighting.actions`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate.utils import gather_object

from trl_mle.errors import CreditError
from trl_mle.training.weighting.actions import TOKENS_COLUMN, Actions, read_actions

REWARDS_COLUMN = "per_action_rewards"


@dataclass(frozen=True)
class TurnRewards:
    """The rewards of the `A` actions of a global batch."""

    values: torch.Tensor
    """Reward of every action, shape `(A,)`, float64; 0 for the actions of a completion without a reward."""
    actions: Actions
    """The actions: those whose durations were reported, or actions with unknown durations."""


def gather_turn_rewards(
    logged: Mapping[str, Sequence[Any]],
    lengths: list[int],
    scorable: torch.Tensor,
    actions: Actions | None,
    reward_func_names: Sequence[str],
) -> TurnRewards:
    """Gather the rewards of the actions of a global batch; to be called by all processes.

    Args:
        logged: this process's columns of `log_extra`.
        lengths: number of tokens of each completion of this process.
        scorable (`torch.Tensor` of shape `(B,)`): True for the completions of the global batch that have a reward.
        actions: those whose durations were reported, if any were.
        reward_func_names: for error messages.

    Raises:
        CreditError: no rewards, the wrong number of them, or impossible ones; the message names the completion. All processes
            check the gathered values, so either all of them raise or none.
    """
    report = {"lengths": lengths, "rewards": logged.get(REWARDS_COLUMN), "tokens": logged.get(TOKENS_COLUMN)}
    reports = gather_object([report])
    rows = _rewards_of_all(reports, reward_func_names)
    all_lengths = [length for each in reports for length in each["lengths"]]
    if actions is None:
        actions = _actions_without_durations(reports, rows, scorable, all_lengths)
    counts = torch.bincount(actions.rows, minlength=len(rows)).tolist()
    values: list[float] = []
    for row, (reported, count) in enumerate(zip(rows, counts, strict=True)):
        # Whatever is reported for a completion without a reward, it has no part in the gradient.
        values += _as_rewards(reported, count, row) if scorable[row] else [0.0] * count
    return TurnRewards(torch.tensor(values, dtype=torch.float64), actions)


def check_finite(rewards: torch.Tensor, scorable: torch.Tensor) -> None:
    """Raise `CreditError` if a completion has an infinite reward, which would make the advantages of its whole group NaN.

    Args:
        rewards (`torch.Tensor` of shape `(B,)`):
            Weighted sum of the rewards of each completion.
        scorable (`torch.Tensor` of shape `(B,)`):
            True for completions that have a reward.
    """
    bad = scorable & ~torch.isfinite(rewards)
    if bad.any():
        row = int(bad.nonzero()[0])
        raise CreditError(
            f"The reward of completion {row} is {rewards[row].item()}. `turn_credit: return` needs finite rewards, or None for a "
            "completion that cannot be scored."
        )


def _rewards_of_all(reports: Sequence[Mapping[str, Any]], reward_func_names: Sequence[str]) -> list[Any]:
    """What was reported for each completion of the global batch."""
    if all(report["rewards"] is None for report in reports):
        raise CreditError(
            f"No reward function reported rewards of actions, but `turn_credit` is 'return'. Call "
            f'`log_extra("{REWARDS_COLUMN}", rows)` in one of {list(reward_func_names)} with one list per completion, or set '
            "`turn_credit: episode`."
        )
    rows: list[Any] = []
    for process, report in enumerate(reports):
        values = list(report["rewards"] or [])
        if len(values) != len(report["lengths"]):
            raise CreditError(
                f'`log_extra("{REWARDS_COLUMN}", ...)` got {len(values)} lists for {len(report["lengths"])} completions (process '
                f"{process}). Report exactly one per completion."
            )
        rows += values
    return rows


def _actions_without_durations(
    reports: Sequence[Mapping[str, Any]], rows: Sequence[Any], scorable: torch.Tensor, lengths: Sequence[int]
) -> Actions:
    """As many actions as there are rewards."""
    tokens = None
    if any(report["tokens"] is not None for report in reports):
        tokens = [item for report in reports for item in (report["tokens"] or [None] * len(report["lengths"]))]
    counts = []
    for row, reported in enumerate(rows):
        if scorable[row] or tokens is None or tokens[row] is None:
            counts.append(max(_length(reported), 1))
        else:
            counts.append(len(tokens[row]))
    return read_actions([[None] * count for count in counts], tokens, lengths)


def _length(reported: Any) -> int:
    try:
        return len(reported)
    except TypeError:
        return 0


def _as_rewards(reported: Any, count: int, row: int) -> list[float]:
    """`count` finite numbers.

    Raises:
        CreditError: it is something else.
    """
    try:
        values = [float(value) for value in reported]
    except (TypeError, ValueError):
        values = [math.nan]
    if not values or not all(map(math.isfinite, values)):
        raise CreditError(
            f"`{REWARDS_COLUMN}` of completion {row} is {_shown(reported)}, but the completion has a reward. Report a list of one "
            "finite number per action, or give the completion the reward None."
        )
    if len(values) != count:
        raise CreditError(
            f"`{REWARDS_COLUMN}` of completion {row} has {len(values)} rewards for {count} actions (`per_action_durations`). "
            "Report one reward per action."
        )
    return values


def _shown(reported: Any) -> str:
    text = repr(reported)
    return text if len(text) <= 80 else f"{text[:77]}..."
