"""The order of the data after a resume."""

from __future__ import annotations

from typing import Any

import torch
from trl.trainer.utils import RepeatSampler


def start_at_epoch(sampler: Any, epoch: int) -> None:
    """Let the next iteration of `sampler` be its iteration number `epoch`, counted from 0.

    TRL's sampler draws a permutation per epoch from a generator of its own. A resumed run begins with a new sampler, whose
    first permutation is that of the run's first epoch, whatever the epoch is. Other samplers are left alone.
    """
    if isinstance(sampler, RepeatSampler) and sampler.shuffle:
        for _ in range(epoch):
            torch.randperm(sampler.num_samples, generator=sampler.generator)
