"""Signs of a bias by duration: metrics of a batch, and warnings that say what to do."""

from __future__ import annotations

import torch

from trl_mle.training.weighting.duration import advantage_mass, effective_sample_size, quartile_means
from trl_mle.training.weighting.rules import SeenSamples, WeightingRule
from trl_mle.training.weighting.samples import SampleBatch

MIN_SAMPLES = 64
"""Samples that a run must have seen before it is warned of anything."""


def duration_metrics(
    batch: SampleBatch, weights: torch.Tensor, inclusion: torch.Tensor | None = None, min_inclusion: float = 0.02
) -> dict[str, float]:
    """Metrics under `duration/`. Quarters go from the shortest to the longest duration.

    `lost_share_q1` .. `q4` are the shares lost in each quarter of all samples that ran, ordered by the seconds that they ran
    before they finished or were lost. A bias to fast programs is a share that rises with the quarter.

    Args:
        weights (`torch.Tensor` of shape `(B,)`):
            Weights of the batch.
        inclusion (`torch.Tensor` of shape `(B,)`, *optional*):
            Probabilities of inclusion, if the weights were made from them.
        min_inclusion (`float`, *optional*, defaults to `0.02`):
            Floor of the probabilities.
    """
    scorable = batch.scorable
    metrics = {"duration/unscorable_share": 1.0 - scorable.float().mean().item()}
    seconds, lost = batch.candidates()
    if seconds.numel():
        metrics["duration/lost_share"] = lost.double().mean().item()
        for quarter, value in enumerate(quartile_means(seconds, lost.double()), start=1):
            metrics[f"duration/lost_share_q{quarter}"] = value
    if batch.censored is not None:
        metrics["duration/timeout_share"] = batch.censored.double().mean().item()
    if not scorable.any():
        return metrics
    seconds = torch.nan_to_num(batch.durations, nan=0.0)[scorable]
    weights = weights[scorable]
    metrics["duration/mean"] = seconds.mean().item()
    metrics["duration/max"] = seconds.max().item()
    metrics["duration/weight_max"] = weights.max().item()
    metrics["duration/weight_ess"] = effective_sample_size(weights)
    rewards = batch.rewards[scorable]
    known = ~torch.isnan(rewards)
    # A rollout worker of the user's own may tell advantages without rewards.
    if known.any():
        for quarter, value in enumerate(quartile_means(seconds[known], rewards[known]), start=1):
            metrics[f"duration/reward_q{quarter}"] = value
    for quarter, value in enumerate(advantage_mass(seconds, batch.advantages[scorable] * weights), start=1):
        metrics[f"duration/advantage_mass_q{quarter}"] = value
    if inclusion is not None:
        probabilities = inclusion[scorable]
        metrics["duration/inclusion_min"] = probabilities.min().item()
        metrics["duration/inclusion_floor_share"] = (probabilities < min_inclusion).double().mean().item()
    return metrics


class DurationMonitor:
    """Adds up what a run loses and how uneven its weights are, and asks the rule for its warning.

    Args:
        rule ([`WeightingRule`]):
            Rule of the run.
        min_inclusion (`float`, *optional*, defaults to `0.02`):
            `duration_min_inclusion` of the run.
    """

    def __init__(self, rule: WeightingRule, min_inclusion: float = 0.02):
        self.rule = rule
        self.min_inclusion = min_inclusion
        self._warned = False
        self._samples = self._lost = self._rows = self._floored = 0
        self._effective_rows = 0.0

    def observe(self, batch: SampleBatch, weights: torch.Tensor, inclusion: torch.Tensor | None = None) -> list[str]:
        """Add a training batch. Returns the warnings that are due now, each of them once per run."""
        _, lost = batch.candidates()
        self._samples += lost.numel()
        self._lost += int(lost.sum())
        scorable = batch.scorable
        if scorable.any():
            rows = int(scorable.sum())
            self._rows += rows
            self._effective_rows += rows * effective_sample_size(weights[scorable])
            if inclusion is not None:
                self._floored += int((inclusion[scorable] < self.min_inclusion).sum())
        if self._warned or min(self._samples, self._rows) < MIN_SAMPLES:
            return []
        warning = self.rule.advice(
            SeenSamples(
                lost=self._lost,
                lost_share=self._lost / self._samples,
                effective_share=self._effective_rows / self._rows,
                floored_share=self._floored / self._rows,
                min_inclusion=self.min_inclusion,
            )
        )
        self._warned = warning is not None
        return [] if warning is None else [warning]
