"""The global batch that weights are computed for, whichever trainer it comes from."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class SampleBatch:
    """`B` completions of all processes: a generation batch or, with asynchronous rollouts, one optimizer step."""

    durations: torch.Tensor
    """Seconds, shape `(B,)`, float64; NaN for completions that never ran. For a stopped program, a lower bound."""
    rewards: torch.Tensor
    """Shape `(B,)`. NaN where no reward is known, although the completion may be scorable."""
    advantages: torch.Tensor
    """Before weighting, shape `(B,)`."""
    scorable: torch.Tensor
    """Shape `(B,)`: True for completions that have a reward."""
    counted: torch.Tensor | None = None
    """Shape `(B,)`: True for completions that are trained on, over which the mean weight is 1. `None`: the scorable ones."""
    censored: torch.Tensor | None = None
    """Shape `(B,)`: True for programs that were stopped before they finished. `None` if no reward function reports it."""
    lost_elsewhere: torch.Tensor | None = None
    """Shape `(L,)`: samples outside the batch, as seconds after which each was lost (too late, too stale, discarded)."""

    def lost(self) -> torch.Tensor:
        """Rows of the batch that were lost by duration, shape `(B,)`: stopped programs that have no reward."""
        if self.censored is None:
            return torch.zeros_like(self.scorable)
        return self.censored & ~self.scorable & ~torch.isnan(self.durations)

    def candidates(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Seconds of all samples that ran, and whether each was lost, shape `(n,)` each. Other faults are left out."""
        lost = self.lost()
        ran = ~torch.isnan(self.durations) & (self.scorable | lost)
        seconds, flags = self.durations[ran], lost[ran]
        if self.lost_elsewhere is not None and self.lost_elsewhere.numel():
            seconds = torch.cat([seconds, self.lost_elsewhere.to(seconds.dtype)])
            flags = torch.cat([flags, torch.ones(self.lost_elsewhere.numel(), dtype=torch.bool)])
        return seconds, flags
