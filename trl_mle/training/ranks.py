"""Ranks within a group, in place of the values of a reward function."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch

from trl_mle.errors import ConfigError


def ranks_within_groups(values: torch.Tensor, group_size: int) -> torch.Tensor:
    """Rank of each value within its group, from -1 for the lowest to 1 for the highest.

    Equal values share the mean of their ranks. A value that is alone in its group has rank 0.

    Args:
        values (`torch.Tensor` of shape `(B,)`):
            Values of one reward function, group by group; NaN where it has given none.
        group_size (`int`):
            Completions per group.

    Returns:
        `torch.Tensor` of shape `(B,)`, NaN where `values` is NaN.
    """
    groups = values.view(-1, group_size)
    there = ~torch.isnan(groups)
    # A comparison with NaN is False, so that a missing value is neither below nor above another.
    below = (groups.unsqueeze(2) > groups.unsqueeze(1)).sum(dim=2)
    above = (groups.unsqueeze(2) < groups.unsqueeze(1)).sum(dim=2)
    others = (there.sum(dim=1, keepdim=True) - 1).clamp(min=1)
    ranks = (below - above).to(values.dtype) / others
    return ranks.masked_fill(~there, torch.nan).view(-1)


def check_ranked(names: Sequence[str], ranked: Collection[str]) -> None:
    """Raise `ConfigError` if `ranked` names a reward function that is not among `names`."""
    for name in ranked:
        if name not in names:
            raise ConfigError(f"`ranked_rewards` names {name!r}; the reward functions are {', '.join(names)}.")


def rank_rewards(
    rewards_per_func: torch.Tensor, names: Sequence[str], ranked: Collection[str], group_size: int
) -> torch.Tensor:
    """`rewards_per_func`, shape `(B, F)`, with ranks in the columns of the reward functions named in `ranked`.

    Raises:
        ConfigError: `ranked` names a reward function that the trainer does not have.
    """
    check_ranked(names, ranked)
    columns = [
        ranks_within_groups(column, group_size) if name in ranked else column
        for name, column in zip(names, rewards_per_func.unbind(dim=1), strict=True)
    ]
    return torch.stack(columns, dim=1)
