"""Configuration of [`AsyncDurationAwareTrainer`]."""

from __future__ import annotations

from dataclasses import dataclass, field

from trl_mle.training.async_grpo.trl_imports import AsyncGRPOConfig
from trl_mle.training.weighting.config import DurationSettings


@dataclass
class AsyncDurationAwareConfig(DurationSettings, AsyncGRPOConfig):
    """TRL's `AsyncGRPOConfig` with the parameters of [`DurationSettings`]; everything else is as in TRL.

    > Parameters that control what is kept

    Args:
        save_rollouts (`bool`, *optional*, defaults to `True`):
            Write the samples of every optimizer step, and those that were too stale, to `output_dir/rollouts/`.
    """

    save_rollouts: bool = field(
        default=True, metadata={"help": "Keep every sample in output_dir/rollouts/ as Parquet."}
    )

    def __post_init__(self):
        super().__post_init__()
        self.check_durations()
