"""What the trainer knows about a global batch once its completions are scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from trl_mle.training.reported_durations import ReportedDurations
from trl_mle.training.turn_credit.credit import Credit


@dataclass(frozen=True)
class ScoredBatch:
    """What `_calculate_rewards` learns about a global batch of `B` completions, for what follows on TRL's normalisation.

    Every process has the same values.
    """

    per_function: torch.Tensor
    """What TRL normalises of each of the `F` reward functions, shape `(B, F)`: its rewards, or the ranks of those in
    `ranked_rewards`; NaN where there is none."""
    rewards: torch.Tensor
    """Weighted sum of the rewards themselves over the reward functions, shape `(B,)`; 0 where there is none."""
    scorable: torch.Tensor
    """Shape `(B,)`: True for completions that have a reward."""
    reported: ReportedDurations
    scale_keys: list[Any] | None = None
    """Value of the column `reward_scale_column` for each completion, if that is set."""
    credit: Credit | None = None
    """Advantages of the actions, with `turn_credit: return`."""

    def known_rewards(self) -> torch.Tensor:
        """`rewards` with NaN for completions that have none, shape `(B,)`."""
        return self.rewards.masked_fill(~self.scorable, torch.nan)
