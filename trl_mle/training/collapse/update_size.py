"""How far one optimizer step has moved the policy: the divergence of the policies before and after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator

LARGEST = 20.0
"""Largest difference of the log-probabilities of a token that counts, in nats."""

EXTRAS = ("compute_entropy", "compute_aux_loss")
"""Options of the loss's forward pass that are not needed again."""


@dataclass(frozen=True)
class _Forward:
    """A forward pass of the loss, which can be repeated."""

    logps: torch.Tensor
    arguments: tuple[Any, ...]
    options: Mapping[str, Any]
    written: torch.Tensor | None


class UpdateSize:
    """Measures KL(policy before || policy after) per token on the last micro-batch of an optimizer step.

    The log-probabilities before the step are those of the loss. Those after it cost one more forward pass of the micro-batch.
    The estimate is the mean of `log p_before - log p_after` over the completion's tokens, unbiased for tokens that the policy
    before the step has written. It may be slightly negative. The estimate that never is, with the ratio of probabilities
    (http://joschu.net/blog/kl-approx.html), is no use here: one rare token that has become likely outweighs all others.

    Args:
        accelerator (`accelerate.Accelerator`):
            Joins the tokens of all processes.
    """

    def __init__(self, accelerator: Accelerator):
        self._accelerator = accelerator
        self._last: _Forward | None = None
        self.written: torch.Tensor | None = None
        """Of the micro-batch whose loss is computed: 1 for the tokens that the policy wrote, 0 for those of tools; shape `(b, T)`.
        `None`: it wrote all of them."""

    def keep(self, logps: torch.Tensor, arguments: tuple[Any, ...], options: Mapping[str, Any]) -> None:
        """Remember a forward pass: log-probabilities, shape `(b, T)`, and the arguments that they were computed with.

        Only forward passes of the loss count, which have gradients.
        """
        if torch.is_grad_enabled():
            self._last = _Forward(logps.detach(), arguments, options, self.written)

    def measure(self, forward: Callable[..., tuple[torch.Tensor, Any, Any]]) -> float | None:
        """Nats per token of all processes, or `None` without a forward pass before. To be called by all processes.

        Args:
            forward (callable):
                Computes the log-probabilities from the remembered arguments.
        """
        last, self._last = self._last, None
        if last is None:
            return None
        _, _, attention_mask, kept = last.arguments[:4]
        devices = [last.logps.device] if last.logps.device.type == "cuda" else []
        options = {**last.options, **{name: False for name in EXTRAS if name in last.options}}
        # Dropout must not change the random numbers that training draws.
        with torch.no_grad(), torch.random.fork_rng(devices=devices):
            after, _, _ = forward(*last.arguments, **options)
        mask = attention_mask[:, -kept:].to(torch.float32)
        if last.written is not None:
            mask = mask * last.written
        # The logarithm of a probability that is gone is infinite: bound it, so that the mean stays a number.
        divergence = (last.logps - after).float().clamp(-LARGEST, LARGEST)
        totals = self._accelerator.reduce(torch.stack([(divergence * mask).sum(), mask.sum()]), reduction="sum")
        return (totals[0] / totals[1].clamp(min=1.0)).item()
