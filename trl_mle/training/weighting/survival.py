"""Kaplan-Meier estimates of how long programs take, and of when they are lost, from a bounded memory of durations.

A program needs `D` seconds. After `C` seconds it would be lost: a window closes, enough others have finished, it is too stale.
Observed are `X = min(D, C)` and which of the two it was. If `D` and `C` are independent, the product-limit estimator (Kaplan
and Meier 1958, "Nonparametric Estimation from Incomplete Observations", JASA 53) gives the distribution of each of them from
the same pairs, with `D` or `C` as the event.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from trl_mle.errors import DurationError


@dataclass(frozen=True)
class Survival:
    """A step function `S(t) = P(T > t)`, 1 before the first step."""

    times: torch.Tensor
    """Times of its steps in seconds, ascending; shape `(K,)`."""
    values: torch.Tensor
    """`S` from each step on; shape `(K,)`."""

    def after(self, seconds: torch.Tensor) -> torch.Tensor:
        """`P(T > t)` at every `t` of `seconds`; same shape."""
        return self._padded()[torch.searchsorted(self.times, seconds.contiguous(), right=True)]

    def reaching(self, seconds: torch.Tensor) -> torch.Tensor:
        """`P(T >= t)` at every `t` of `seconds`; same shape."""
        return self._padded()[torch.searchsorted(self.times, seconds.contiguous())]

    def _padded(self) -> torch.Tensor:
        return torch.cat([torch.ones(1, dtype=torch.float64), self.values])


def kaplan_meier(seconds: torch.Tensor, events: torch.Tensor, *, events_first: bool = True) -> Survival:
    """The product-limit estimator `S(t) = prod_{t_k <= t} (1 - d_k / n_k)`.

    Args:
        seconds (`torch.Tensor` of shape `(n,)`):
            Time of every observation: that of the event or of another end, whichever comes first.
        events (`torch.Tensor` of shape `(n,)`):
            True for observations that end by the event; `d_k` counts these at time `t_k`.
        events_first (`bool`, *optional*, defaults to `True`):
            Whether, among observations that end at the same time, those that end by the event come first. `n_k` are the
            observations that have not ended before.
    """
    times, index, counts = torch.unique(seconds.to(torch.float64), return_inverse=True, return_counts=True)
    happened = torch.zeros_like(times).index_add_(0, index, events.to(torch.float64))
    at_risk = counts.to(torch.float64).flip(0).cumsum(0).flip(0)
    # Observations that end otherwise at the same moment are then no longer at risk.
    if not events_first:
        at_risk = at_risk - (counts - happened)
    hazard = torch.where(happened > 0, happened / at_risk.clamp(min=1.0), torch.zeros_like(happened))
    steps = happened > 0
    return Survival(times[steps], (1.0 - hazard).cumprod(0)[steps])


class DurationMemory:
    """The newest durations of a run, including those of lost samples, from which both curves are estimated.

    Args:
        size (`int`):
            Number of durations. Older ones are forgotten, so that the estimate follows the policy.
    """

    def __init__(self, size: int):
        self.size = size
        self._seconds = torch.empty(0, dtype=torch.float64)
        self._lost = torch.empty(0, dtype=torch.bool)

    def __len__(self) -> int:
        return self._seconds.numel()

    def observe(self, durations: torch.Tensor, lost: torch.Tensor | bool = False) -> None:
        """Add samples.

        Args:
            durations (`torch.Tensor` of shape `(n,)`):
                Seconds; NaN (never ran) is left out. For a lost sample, the seconds after which it was lost, not those that
                it would have taken.
            lost (`torch.Tensor` of shape `(n,)`, or `bool` for all):
                True for lost samples.
        """
        seconds = durations.detach().to("cpu", torch.float64)
        flags = lost.to("cpu", torch.bool) if isinstance(lost, torch.Tensor) else torch.full(seconds.shape, lost)
        if flags.shape != seconds.shape or seconds.dim() != 1:
            raise DurationError(
                f"durations have shape {tuple(seconds.shape)} and lost {tuple(flags.shape)}; both must be (n,)."
            )
        known = ~torch.isnan(seconds)
        self._seconds = torch.cat([self._seconds, seconds[known]])[-self.size :]
        self._lost = torch.cat([self._lost, flags[known]])[-self.size :]

    def until_finished(self) -> Survival:
        """Distribution of the durations `D`: `after(t)` is the share of programs that take longer than `t`."""
        return kaplan_meier(self._seconds, ~self._lost)

    def until_lost(self) -> Survival:
        """Distribution of the times `C` after which a sample is lost. A program that finishes at that very moment is not lost."""
        return kaplan_meier(self._seconds, self._lost, events_first=False)

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint, in plain numbers (JSON keeps them exactly)."""
        return {"seconds": self._seconds.tolist(), "lost": self._lost.tolist()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict()`."""
        self._seconds = torch.tensor(state["seconds"], dtype=torch.float64)[-self.size :]
        self._lost = torch.tensor(state["lost"], dtype=torch.bool)[-self.size :]
