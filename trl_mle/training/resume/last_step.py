"""A run that is resumed where it has ended."""

from __future__ import annotations

from typing import Any


class EndsAtLastStep:
    """Part of a `transformers.Trainer` that makes no step beyond `max_steps`, and changes nothing else.

    transformers' trainer asks only after a step whether that was the last one. Resumed from its last checkpoint, a run would make
    one step too many.
    """

    state: Any
    control: Any

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> tuple[list, Any]:
        """Micro-batches of the next optimizer step. There are none if all steps are made, and training stops."""
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
            return [], None
        return super().get_batch_samples(epoch_iterator, num_batches, device)  # type: ignore[misc]
