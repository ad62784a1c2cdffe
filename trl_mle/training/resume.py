"""Warnings of what a resumed run cannot repeat."""

from __future__ import annotations

import logging
from typing import Any

logger = logging.getLogger(__name__)


def warn_of_inexact_resume(args: Any) -> None:
    """Warn if `args` ([`DurationAwareConfig`]) write checkpoints from which a resumed run differs."""
    micro_steps = (args.steps_per_generation or 1) * args.num_iterations
    # TRL does not save the rest of a generation batch, so only a checkpoint at its end repeats nothing.
    if args.save_strategy == "steps" and args.save_steps * args.gradient_accumulation_steps % micro_steps:
        logger.warning(
            "`save_steps`=%s falls between generation batches (one every %s steps): a run that is resumed from such a "
            "checkpoint generates anew and differs from the uninterrupted one.",
            args.save_steps,
            micro_steps / args.gradient_accumulation_steps,
        )
