"""A run that is resumed where it has ended."""

from __future__ import annotations

from typing import Any


def is_at_its_end(trainer: Any) -> bool:
    """Whether a run has made all of its optimizer steps before the next one. Then it stops.

    transformers' trainer asks only after a step. Resumed from its last checkpoint, a run would make one step too many.

    Args:
        trainer (`transformers.Trainer`):
            A trainer that is about to take the micro-batches of its next step.
    """
    if trainer.state.global_step < trainer.state.max_steps:
        return False
    trainer.control.should_training_stop = True
    return True
