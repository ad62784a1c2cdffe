"""`duration_weighting: none`: every completion weighs the same, as in TRL's own trainer."""

from __future__ import annotations

import torch

from trl_mle.training.weighting.rules.base import RuleInput, SeenSamples, WeightingRule

MAX_LOST_SHARE = 0.02
"""Share of samples lost by duration above which a run is warned."""


class NoWeighting(WeightingRule):
    summary = "plain GRPO"
    needs_durations = False

    def values(self, completions: RuleInput) -> torch.Tensor:
        return torch.ones_like(completions.seconds)

    def advice(self, seen: SeenSamples) -> str | None:
        if seen.lost_share <= MAX_LOST_SHARE:
            return None
        return (
            f"{seen.lost_share:.0%} of the samples were lost by duration, and no weight makes up for it: the policy learns "
            "from the fast programs (see `duration/lost_share_q4`). Set `duration_weighting: inverse_inclusion`, or lose "
            "fewer samples: a longer limit or window, more staleness."
        )


RULE = NoWeighting()
