"""Advantages times duration weights, and the flags of censored completions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from trl_mle.errors import DurationError
from trl_mle.training.distributed import raise_together
from trl_mle.training.weighting.actions import Actions, token_values


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


def local_token_values(
    output: Mapping[str, Any], actions: Actions, values: torch.Tensor, process_index: int
) -> torch.Tensor:
    """The value of its action for every token of this process's completions, shape `(b, T)`; to be called by all processes.

    Args:
        output (`dict`):
            Result of `GRPOTrainer._generate_and_score_completions`.
        values (`torch.Tensor` of shape `(A,)`):
            Weight or advantage of every action of the global batch.
        process_index (`int`):
            Number of this process.

    Raises:
        DurationError: tokens whose action is unknown. On every process.
    """
    policy_tokens = output["completion_mask"] * output.get("tool_mask", 1)
    error, per_token = None, torch.empty(0)
    try:
        per_token = token_values(actions, values, policy_tokens.bool(), process_index * len(policy_tokens))
    except DurationError as raised:
        error = raised
    # Each process sees only its own tokens, so one may fail alone.
    raise_together(error)
    return per_token


def flags(values: Iterable[Any]) -> torch.Tensor:
    """Which values of the column `action_censored` are set, shape `(B,)`. What is no flag, such as an array, is not."""
    return torch.tensor([_is_set(value) for value in values])


def _is_set(value: Any) -> bool:
    try:
        return bool(value)
    except (TypeError, ValueError, RuntimeError):
        return False
