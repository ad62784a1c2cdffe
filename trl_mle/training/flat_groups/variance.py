"""Which groups have rewards that differ."""

from __future__ import annotations

import torch


def are_flat(
    per_function: torch.Tensor,
    weights: torch.Tensor,
    group_size: int,
    aggregation: str = "sum_then_normalize",
    counted: torch.Tensor | None = None,
) -> torch.Tensor:
    """Which groups teach nothing, because all their advantages are zero.

    Rewards are compared, and not advantages: the mean of equal rewards differs from them by rounding, so that the advantages of
    TRL are not exactly zero.

    Args:
        per_function (`torch.Tensor` of shape `(B, F)`):
            Rewards by reward function, group by group; NaN where there is none.
        weights (`torch.Tensor` of shape `(F,)`):
            Weights of the reward functions.
        group_size (`int`):
            Completions per group.
        aggregation (`str`, *optional*, defaults to `"sum_then_normalize"`):
            `multi_objective_aggregation` of TRL. With `"normalize_then_sum"` a group is flat if each function's rewards are equal.
        counted (`torch.Tensor` of shape `(B,)`, *optional*):
            True for completions that have tokens to train on. A group without any is flat.

    Returns:
        `torch.Tensor` of shape `(B / group_size,)`, boolean. A group with fewer than two rewards is flat.
    """
    unscorable = per_function.isnan().all(dim=1, keepdim=True)
    weighted = per_function * weights.to(per_function)
    if aggregation == "sum_then_normalize":
        weighted = weighted.nansum(dim=1, keepdim=True).masked_fill(unscorable, torch.nan)
    groups = weighted.view(-1, group_size, weighted.size(1))
    missing = groups.isnan()
    lowest = groups.masked_fill(missing, torch.inf).amin(dim=1)
    highest = groups.masked_fill(missing, -torch.inf).amax(dim=1)
    return flat_or_untrained((highest <= lowest).all(dim=1), counted, group_size)


def flat_or_untrained(flat: torch.Tensor, counted: torch.Tensor | None, group_size: int) -> torch.Tensor:
    """`flat`, shape `(B / group_size,)`, and groups none of whose completions has tokens to train on (`counted`, shape `(B,)`)."""
    if counted is None:
        return flat
    return flat | ~counted.to(flat.device).view(-1, group_size).any(dim=1)
