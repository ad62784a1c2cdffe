"""Metrics of turns: how many there are, how long their programs run, and which of them the policy learns from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from trl_mle.training.weighting.actions import Actions

MOST_TURNS = 8
"""Turns that have metrics of their own. Later ones are counted in `turns/mean` and `turns/max` alone."""


def turn_metrics(actions: Actions, advantages: torch.Tensor, cut: torch.Tensor) -> dict[str, float]:
    """Metrics under `turns/`. Turn 1 is the first action of a completion.

    `advantage_mass_k` is the share of `sum |weight x advantage|` over the actions of turn `k`, `duration_k` the mean seconds of
    its programs that ran.

    Args:
        advantages (`torch.Tensor` of shape `(A,)`):
            Advantage times weight of every action of the global batch.
        cut (`torch.Tensor` of shape `(B,)`):
            True for completions that were cut, see [`cut_rows`].
    """
    turn = actions.turns()
    count = torch.bincount(actions.rows, minlength=len(actions.tokens)).double()
    metrics = {
        "turns/mean": count.mean().item(),
        "turns/max": count.max().item(),
        "turns/cut_share": cut.double().mean().item(),
    }
    mass = advantages.abs()
    total = mass.sum().item()
    for index in range(min(int(count.max()), MOST_TURNS)):
        of_turn = turn == index
        if total > 0:
            metrics[f"turns/advantage_mass_{index + 1}"] = mass[of_turn].sum().item() / total
        seconds = actions.seconds[of_turn]
        ran = seconds[~torch.isnan(seconds)]
        if len(ran):
            metrics[f"turns/duration_{index + 1}"] = ran.mean().item()
    return metrics


def cut_rows(ids: torch.Tensor, mask: torch.Tensor, ends: Sequence[int], completions: Sequence[Any]) -> torch.Tensor:
    """Which completions were cut, shape `(b,)`: in the middle of an action, or before a tool call got its answer.

    Args:
        ids (`torch.Tensor` of shape `(b, T)`):
            Tokens of this process's completions.
        mask (`torch.Tensor` of shape `(b, T)`):
            1 for tokens of the completion, 0 for padding. A row of zeros is a truncated completion that TRL has masked.
        ends (`list[int]`):
            Ids of tokens that end a completion.
        completions (`b` texts or lists of messages):
            The completions themselves. With tools, the last message of one that was cut after a tool call has that call.
    """
    last = ids.gather(1, (mask.sum(dim=1, keepdim=True) - 1).clamp(min=0)).squeeze(1)
    unfinished = ~torch.isin(last, torch.tensor(list(ends), device=ids.device)) | ~mask.any(dim=1)
    unanswered = torch.tensor([_awaits_answer(completion) for completion in completions], device=ids.device)
    return unfinished | unanswered


def _awaits_answer(completion: Any) -> bool:
    if not isinstance(completion, list) or not completion or not isinstance(completion[-1], dict):
        return False
    return bool(completion[-1].get("tool_calls"))
