"""What shows a bias by duration: metrics of a generation batch, and warnings that say what to do."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch

from trl_mle.training.weighting.duration import advantage_mass, effective_sample_size, quartile_means

logger = logging.getLogger(__name__)

LOST_SHARE = 0.02
"""Share of samples lost by duration from which a run is warned if it does not weigh."""
LEAST_ESS = 0.25
"""Effective sample size, as a share of the batch, under which "proportional" weights are said to dominate it."""
FLOOR_SHARE = 0.05
"""Share of samples with a probability of inclusion under the floor from which a run is warned."""
LEAST_ROWS = 64
"""Samples seen before any of these is judged."""


@dataclass(frozen=True)
class WeightedBatch:
    """A global generation batch of `B` completions, and the samples that were lost on the way to it."""

    durations: torch.Tensor
    """Seconds, shape `(B,)`; NaN for completions that never ran. Of a stopped program, its lower bound."""
    rewards: torch.Tensor
    """Shape `(B,)`."""
    advantages: torch.Tensor
    """Before weighting, shape `(B,)`."""
    weights: torch.Tensor
    """Shape `(B,)`."""
    scorable: torch.Tensor
    """Shape `(B,)`: True for completions that have a reward."""
    censored: torch.Tensor | None = None
    """Shape `(B,)`: True for programs that were stopped before they finished; `None` if that was not reported."""
    lost_elsewhere: torch.Tensor | None = None
    """Seconds after which samples that are not in the batch were lost, shape `(L,)`: too late, too stale, discarded."""
    inclusion: torch.Tensor | None = None
    """Estimated probabilities of inclusion, shape `(B,)`, if weights were made from them."""

    def lost(self) -> torch.Tensor:
        """Rows of the batch that were lost by duration, shape `(B,)`: stopped, and without a reward for it."""
        if self.censored is None:
            return torch.zeros_like(self.scorable)
        return self.censored & ~self.scorable & ~torch.isnan(self.durations)

    def candidates(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Seconds of all samples that ran, those of other faults left out, and which of them were lost; `(n,)` each."""
        lost = self.lost()
        ran = ~torch.isnan(self.durations) & (self.scorable | lost)
        seconds, flags = self.durations[ran], lost[ran]
        if self.lost_elsewhere is not None and self.lost_elsewhere.numel():
            seconds = torch.cat([seconds, self.lost_elsewhere.to(seconds.dtype)])
            flags = torch.cat([flags, torch.ones(self.lost_elsewhere.numel(), dtype=torch.bool)])
        return seconds, flags


def duration_metrics(batch: WeightedBatch, min_inclusion: float = 0.02) -> dict[str, float]:
    """Metrics under `duration/`. Quarters go from the shortest to the longest duration.

    `lost_share_q1` .. `q4` are the shares lost in each quarter of all samples that ran, ordered by the time that they ran, or
    ran before they were lost: a bias to fast programs is a share that rises with the quarter.
    """
    kept = batch.scorable
    metrics = {"duration/unscorable_share": 1.0 - kept.float().mean().item()}
    seconds, lost = batch.candidates()
    if seconds.numel():
        metrics["duration/lost_share"] = lost.double().mean().item()
        for quarter, value in enumerate(quartile_means(seconds, lost.double()), start=1):
            metrics[f"duration/lost_share_q{quarter}"] = value
    if batch.censored is not None:
        metrics["duration/timeout_share"] = batch.censored.double().mean().item()
    if not kept.any():
        return metrics
    seconds = torch.nan_to_num(batch.durations, nan=0.0)[kept]
    weights = batch.weights[kept]
    metrics["duration/mean"] = seconds.mean().item()
    metrics["duration/max"] = seconds.max().item()
    metrics["duration/weight_max"] = weights.max().item()
    metrics["duration/weight_ess"] = effective_sample_size(weights)
    for quarter, value in enumerate(quartile_means(seconds, batch.rewards[kept]), start=1):
        metrics[f"duration/reward_q{quarter}"] = value
    for quarter, value in enumerate(advantage_mass(seconds, batch.advantages[kept] * weights), start=1):
        metrics[f"duration/advantage_mass_q{quarter}"] = value
    if batch.inclusion is not None:
        found = batch.inclusion[kept]
        metrics["duration/inclusion_min"] = found.min().item()
        metrics["duration/inclusion_floor_share"] = (found < min_inclusion).double().mean().item()
    return metrics


class DurationWatch:
    """Says once, in words, that the weighting of a run does not fit how its samples are collected.

    Args:
        weighting (`str`):
            `duration_weighting` of the run.
        exponent (`float`, *optional*, defaults to `1.0`):
            `duration_exponent` of the run; with 0 nothing is weighted.
        min_inclusion (`float`, *optional*, defaults to `0.02`):
            `duration_min_inclusion` of the run.
    """

    def __init__(self, weighting: str, exponent: float = 1.0, min_inclusion: float = 0.02):
        self.weighting = "none" if exponent == 0.0 else weighting
        self.min_inclusion = min_inclusion
        self._said: set[str] = set()
        self._samples = self._lost = 0
        self._rows = self._floored = self._effective = 0.0

    def look_at(self, batch: WeightedBatch) -> None:
        """Take a training batch into account, and warn if it is time to."""
        seconds, lost = batch.candidates()
        self._samples += seconds.numel()
        self._lost += int(lost.sum())
        kept = batch.scorable
        if kept.any():
            rows = int(kept.sum())
            self._rows += rows
            self._effective += rows * effective_sample_size(batch.weights[kept])
            if batch.inclusion is not None:
                self._floored += int((batch.inclusion[kept] < self.min_inclusion).sum())
        if min(self._samples, self._rows) < LEAST_ROWS:
            return
        lost_share = self._lost / self._samples
        effective = self._effective / self._rows
        if self.weighting == "none" and lost_share > LOST_SHARE:
            self._say(
                "lost",
                f"{lost_share:.0%} of the samples were lost by duration and nothing makes up for it: the policy learns from "
                "the fast programs (see `duration/lost_share_q4`). Set `duration_weighting: inverse_inclusion`, or lose fewer: "
                "a longer limit or window, more staleness.",
            )
        if self.weighting == "proportional" and self._lost == 0 and effective < LEAST_ESS:
            self._say(
                "dominated",
                f"No sample was lost by duration, and weights proportional to it leave {effective:.0%} of the batch effective "
                f"(`duration/weight_ess`): a few slow programs are the gradient. "
                "`duration_weighting: none` is unbiased here; to keep an emphasis on slow programs, bound it by "
                "`duration_exponent` (0.25 to 0.5), `duration_clip` (2 to 10) or a higher `duration_floor_s`.",
            )
        if self.weighting == "inverse_inclusion" and self._floored > FLOOR_SHARE * self._rows:
            self._say(
                "floored",
                f"{self._floored / self._rows:.0%} of the samples have a probability of inclusion under "
                f"`duration_min_inclusion` ({self.min_inclusion:g}): they count too little. Lose fewer slow samples (a longer "
                "limit or window, more staleness), or check that `duration_rule` is how this run collects.",
            )

    def _say(self, key: str, words: str) -> None:
        if key not in self._said:
            self._said.add(key)
            logger.warning("%s", words)
