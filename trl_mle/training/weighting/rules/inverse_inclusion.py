"""`duration_weighting: inverse_inclusion`: one over the probability that a sample of that duration reaches the learner.

Horvitz and Thompson 1952; `weighting/inclusion.py` estimates the probabilities.
"""

from __future__ import annotations

import torch

from trl_mle.training.weighting.rules.base import RuleInput, SeenSamples, WeightingRule

MAX_FLOORED_SHARE = 0.05
"""Share of samples with a probability under the floor above which a run is warned."""


class InverseInclusion(WeightingRule):
    summary = "advantage / probability that a sample of that duration is not lost"
    needs_inclusion = True

    def values(self, completions: RuleInput) -> torch.Tensor:
        assert completions.inclusion is not None  # `duration_weights` has checked it
        return 1.0 / completions.inclusion.clamp(min=completions.min_inclusion)

    def advice(self, seen: SeenSamples) -> str | None:
        if seen.floored_share <= MAX_FLOORED_SHARE:
            return None
        return (
            f"{seen.floored_share:.0%} of the samples have a probability of inclusion below `duration_min_inclusion` "
            f"({seen.min_inclusion:g}), so they count too little. Lose fewer slow samples (a longer limit or window, more "
            "staleness), or check that `duration_rule` describes how this run collects samples."
        )


RULE = InverseInclusion()
