"""Several actions in one completion: each action's tokens carry the weight of its own seconds.

The duration-aware policy gradient (arXiv 2509.01684) weighs every action `k` of an episode by its own execution time,
`w_k = dt_k / mean(dt)`, with the mean over the actions. A completion of several turns (policy, program, policy, ...)
holds several actions, so its weights have one value per token, shape `(B, T)`. The mean over all actions of the global
batch is 1. If every completion has one action, these are the weights of [`duration_weights`].

A reward function reports them by `log_extra("per_action_durations", rows)`: for each completion, the list of its actions'
seconds, in order (`None` for an action that never ran). `log_extra("action_tokens", rows)` says which tokens belong to which
action: for each completion, the list of its actions' numbers of tokens, whose sum is the length of the completion. Without
it, an action is a stretch of tokens that the policy wrote, between those of tools and environment.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from trl_mle.errors import DurationError

SECONDS_COLUMN = "per_action_durations"
TOKENS_COLUMN = "action_tokens"
OLD_SECONDS_COLUMN = "action_durations"


def warn_of_old_column(column: str) -> None:
    """A `FutureWarning` for the old name of a column of `log_extra`, which is accepted."""
    if column == OLD_SECONDS_COLUMN:
        warnings.warn(
            f'`log_extra("{OLD_SECONDS_COLUMN}", ...)` is deprecated. Write `log_extra("{SECONDS_COLUMN}", ...)`.',
            FutureWarning,
            stacklevel=3,
        )


def rename_old_column(columns: MutableMapping[str, Any]) -> None:
    """Give the column with the old name its present name. If both are there, the old one is dropped."""
    if OLD_SECONDS_COLUMN in columns:
        values = columns.pop(OLD_SECONDS_COLUMN)
        columns.setdefault(SECONDS_COLUMN, values)


@dataclass(frozen=True)
class Actions:
    """The actions of the global batch, in order; every completion has at least one.

    Attributes:
        seconds (`torch.Tensor` of shape `(A,)`, float64):
            Seconds of every action; NaN for one that never ran.
        rows (`torch.Tensor` of shape `(A,)`, int64):
            Completion (row of the global batch) of every action.
        tokens (list of `B` lists, *optional*):
            Tokens of each action of each completion. `None` for a completion whose actions have no token counts.
    """

    seconds: torch.Tensor
    rows: torch.Tensor
    tokens: list[list[int] | None]

    def row_seconds(self) -> torch.Tensor:
        """Seconds of every completion, shape `(B,)`: the sum over its actions that ran, NaN where none did."""
        total = torch.zeros(len(self.tokens), dtype=torch.float64)
        total.index_add_(0, self.rows, torch.nan_to_num(self.seconds, nan=0.0))
        ran = torch.zeros_like(total).index_add_(0, self.rows, (~torch.isnan(self.seconds)).double())
        return torch.where(ran > 0, total, torch.full_like(total, math.nan))

    def turns(self) -> torch.Tensor:
        """Number of each action within its completion, from 0; shape `(A,)`."""
        return turn_numbers(self.rows)

    def by_row(self, values: torch.Tensor) -> list[list[float]]:
        """`values`, shape `(A,)`, as a list for each completion."""
        counts = torch.bincount(self.rows, minlength=len(self.tokens)).tolist()
        return [part.tolist() for part in torch.split(values, counts)]

    def row_means(self, values: torch.Tensor) -> torch.Tensor:
        """Mean of `values`, shape `(A,)`, over the actions of each completion; shape `(B,)`."""
        total = torch.zeros(len(self.tokens), dtype=values.dtype).index_add_(0, self.rows, values)
        return total / torch.bincount(self.rows, minlength=len(self.tokens))


def turn_numbers(rows: torch.Tensor) -> torch.Tensor:
    """Number of each action within its completion, from 0; shape `(A,)`, for the completion of each action, in order."""
    return torch.arange(len(rows)) - torch.searchsorted(rows, rows)


def gathered_actions(reports: Sequence[Mapping[str, Any]]) -> Actions | None:
    """The actions of the global batch, from every process's columns of `log_extra` and the `lengths` of its completions.
    `None` if no reward function reports actions.

    Raises:
        DurationError: a wrong number of values, or impossible ones. On every process, since all see the same reports.
    """
    if all(report[SECONDS_COLUMN] is None for report in reports):
        return None
    lengths = [length for report in reports for length in report["lengths"]]
    columns: dict[str, list | None] = {}
    for name in (SECONDS_COLUMN, TOKENS_COLUMN):
        if all(report[name] is None for report in reports):
            columns[name] = None
            continue
        for process, report in enumerate(reports):
            if len(report[name] or []) != len(report["lengths"]):
                raise DurationError(
                    f'`log_extra("{name}", ...)` got {len(report[name] or [])} lists for {len(report["lengths"])} completions '
                    f"(process {process}). Report exactly one per completion."
                )
        columns[name] = [value for report in reports for value in report[name]]
    return read_actions(columns[SECONDS_COLUMN] or [], columns[TOKENS_COLUMN], lengths)


def read_actions(
    seconds: Sequence[Sequence[Any] | None], tokens: Sequence[Sequence[int] | None] | None, lengths: Sequence[int]
) -> Actions:
    """Actions from what reward functions reported for the `B` completions of the global batch.

    Args:
        seconds (`B` lists of numbers or `None`):
            Seconds of each action. `None` or an empty list stands for one action that never ran.
        tokens (`B` lists of `int`, *optional*):
            Tokens of each action.
        lengths (`B` numbers):
            Tokens of each completion.

    Raises:
        DurationError: not a number of seconds, or token counts that do not fit; the message names the completion.
    """
    flat: list[float] = []
    rows: list[int] = []
    counts: list[list[int] | None] = []
    for row, reported in enumerate(seconds):
        values = _as_list(reported, row) or [None]
        flat.extend(_as_seconds(value, row) for value in values)
        rows.extend([row] * len(values))
        row_counts = None if tokens is None or tokens[row] is None else [int(count) for count in tokens[row] or []]
        if row_counts is not None and (
            len(row_counts) != len(values) or min(row_counts) < 0 or sum(row_counts) != lengths[row]
        ):
            raise DurationError(
                f"`{TOKENS_COLUMN}` of completion {row} is {row_counts} for {len(values)} actions and {lengths[row]} tokens. "
                "Report one number of tokens per action; their sum is the number of tokens of the completion."
            )
        counts.append(row_counts)
    return Actions(torch.tensor(flat, dtype=torch.float64), torch.tensor(rows), counts)


def action_of_token(policy_tokens: torch.Tensor, count: int, tokens: list[int] | None, row: int) -> torch.Tensor:
    """Which action of its completion each token belongs to; shape `(T,)`, values from 0 to `count - 1`.

    Args:
        policy_tokens (`torch.Tensor` of shape `(T,)`, bool):
            The tokens that the policy wrote. Other tokens are not trained on, and belong to the action before them.
        count (`int`):
            Number of actions.
        tokens (`list[int]`, *optional*):
            Tokens of each action.
        row (`int`):
            Row of the global batch, for the error message.

    Raises:
        DurationError: there are no token counts, and the policy's tokens are not `count` stretches.
    """
    index = torch.zeros(policy_tokens.numel(), dtype=torch.long)
    if count == 1:
        return index
    if tokens is not None:
        spans = torch.repeat_interleave(torch.arange(count), torch.tensor(tokens))
        # Completions are padded to one length, so the counts may end before the row does.
        index[: spans.numel()] = spans[: index.numel()]
        index[spans.numel() :] = count - 1
        return index
    begins = policy_tokens & ~torch.cat([policy_tokens.new_zeros(1), policy_tokens[:-1]])
    stretches = int(begins.sum())
    # A truncated completion that is masked has no policy tokens at all.
    if stretches not in (0, count):
        raise DurationError(
            f"`{SECONDS_COLUMN}` of completion {row} has {count} actions, but the policy wrote {stretches} stretches of tokens. "
            f'Report the tokens of each action by `log_extra("{TOKENS_COLUMN}", ...)`.'
        )
    return (begins.long().cumsum(0) - 1).clamp(min=0)


def token_values(actions: Actions, values: torch.Tensor, policy_tokens: torch.Tensor, first_row: int) -> torch.Tensor:
    """The value of every token of this process's completions: the weight, or the advantage, of its action.

    Args:
        values (`torch.Tensor` of shape `(A,)`):
            Value of every action of the global batch.
        policy_tokens (`torch.Tensor` of shape `(b, T)`, bool):
            The tokens that the policy wrote.
        first_row (`int`):
            Row of the global batch at which this process's rows begin.

    Returns:
        `torch.Tensor` of shape `(b, T)`. Tokens of tools and padding have the value of the action before them; they are
        not trained on.

    Raises:
        DurationError: tokens whose action is unknown, see [`action_of_token`].
    """
    result = torch.empty(policy_tokens.shape, dtype=values.dtype)
    for index, policy in enumerate(policy_tokens.cpu()):
        row = first_row + index
        of_row = values[actions.rows == row]
        result[index] = of_row[action_of_token(policy, of_row.numel(), actions.tokens[row], row)]
    return result


def _as_list(reported: Any, row: int) -> list[Any]:
    try:
        return [] if reported is None else list(reported)
    except TypeError:
        raise DurationError(
            f"`{SECONDS_COLUMN}` of completion {row} is {reported!r}. Report a list of seconds, one per action."
        ) from None


def _as_seconds(value: Any, row: int) -> float:
    try:
        number = math.nan if value is None else float(value)
    except (TypeError, ValueError):
        number = -math.inf
    if math.isinf(number) or number < 0:
        raise DurationError(
            f"`{SECONDS_COLUMN}` of completion {row} holds {value!r}, which is not a number of seconds. Report numbers >= 0, or "
            "None for an action that never ran."
        )
    return number
