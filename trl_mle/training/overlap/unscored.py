"""TRL's warning of a completion that no reward function has scored."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

from trl_mle.training.overlap.in_flight import Row

# TRL's own logger, so that whoever looks for its warning, or silences it, finds it where it is without overlap.
logger = logging.getLogger("trl.trainer.grpo_trainer")


def warn_of_unscored(rows: Sequence[Row], rewards: Sequence[Sequence[float]]) -> None:
    """Warn as `GRPOTrainer._calculate_rewards` does of the first of `rows` that has finished without a reward."""
    for row, row_rewards in zip(rows, rewards, strict=True):
        # A lost program is none that reward functions have declined to score, and has metrics of its own.
        if not row.lost and all(map(math.isnan, row_rewards)):
            kwargs = {**row.inputs, "completion": row.completion}
            logger.warning(
                "All reward functions returned None for the following kwargs:\n%s\n"
                "Please ensure that at least one reward function returns a valid reward.",
                kwargs,
            )
            return
