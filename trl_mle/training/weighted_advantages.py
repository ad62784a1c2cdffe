"""Advantages times duration weights, and the flags of censored completions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch


def weighted(
    advantages: torch.Tensor, weights: torch.Tensor, first: int, per_token: torch.Tensor | None = None
) -> torch.Tensor:
    """This process's advantages, shape `(b,)` or `(b, T)`, times their weights.

    Args:
        weights (`torch.Tensor` of shape `(B,)`):
            Weights of the global batch.
        first (`int`):
            Row of the global batch that is this process's first.
        per_token (`torch.Tensor` of shape `(b, T)`, *optional*):
            Weights of this process's tokens, which take the place of `weights`.
    """
    if per_token is not None:
        columns = advantages if advantages.dim() == 2 else advantages.unsqueeze(1)
        return columns * per_token.to(device=advantages.device, dtype=advantages.dtype)
    local = weights[first : first + len(advantages)].to(device=advantages.device, dtype=advantages.dtype)
    return advantages * (local if advantages.dim() == 1 else local.unsqueeze(1))


def flags(values: Iterable[Any]) -> torch.Tensor:
    """Which values of the column `action_censored` are set, shape `(B,)`. What is no flag, such as an array, is not."""
    return torch.tensor([_is_set(value) for value in values])


def _is_set(value: Any) -> bool:
    try:
        return bool(value)
    except (TypeError, ValueError, RuntimeError):
        return False
