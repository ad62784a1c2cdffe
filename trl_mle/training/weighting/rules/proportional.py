"""`duration_weighting: proportional`: duration over mean duration, the paper's rule (arXiv 2509.01684)."""

from __future__ import annotations

import torch

from trl_mle.training.weighting.rules.base import RuleInput, SeenSamples, WeightingRule

MIN_EFFECTIVE_SHARE = 0.25
"""Effective sample size, as a share of the batch, below which a run is warned that a few programs dominate it."""


class Proportional(WeightingRule):
    summary = "advantage x duration / mean duration, the paper"

    def values(self, completions: RuleInput) -> torch.Tensor:
        floor_s = completions.floor_s
        return torch.nan_to_num(completions.seconds, nan=floor_s).clamp(min=floor_s)

    def advice(self, seen: SeenSamples) -> str | None:
        # Where samples are lost, an emphasis on slow ones makes up for some of it.
        if seen.lost > 0 or seen.effective_share >= MIN_EFFECTIVE_SHARE:
            return None
        return (
            f"No sample was lost by duration, and proportional weights leave {seen.effective_share:.0%} of the batch effective "
            "(`duration/weight_ess`): a few slow programs dominate the gradient. `duration_weighting: none` is unbiased here. "
            "To keep an emphasis on slow programs, bound it by `duration_exponent` (0.25 to 0.5), `duration_clip` (2 to 10) "
            "or a higher `duration_floor_s`."
        )


RULE = Proportional()
