"""Configuration of [`DurationAwareTrainer`]."""

from __future__ import annotations

from dataclasses import dataclass, field

from trl import GRPOConfig

from trl_mle.errors import ConfigError
from trl_mle.training.duration import check_weighting


@dataclass
class DurationAwareConfig(GRPOConfig):
    """`trl.GRPOConfig` with the parameters of duration-aware training; everything else is as in TRL.

    > Parameters that control the weighting by duration

    Args:
        duration_weighting (`str`, *optional*, defaults to `"proportional"`):
            `"proportional"` multiplies every advantage by duration / mean duration of the global generation batch (the
            paper's rule). `"none"` trains exactly as `trl.GRPOTrainer`.
        duration_clip (`float`, *optional*):
            Largest weight, at least 1. The mean of the weights is restored to 1 afterwards.
        duration_floor_s (`float`, *optional*, defaults to `0.01`):
            Shorter durations, and completions that never ran, count as this many seconds.
        duration_clock (`str`, *optional*, defaults to `"wall"`):
            Which clock the trainer uses where a reward function reports both: `"wall"` reads the column
            `action_duration`, `"cpu"` reads `action_cpu_duration` (user and system seconds, children included), which
            does not depend on what else the machine does.

    > Parameters that control what is kept

    Args:
        save_rollouts (`bool`, *optional*, defaults to `True`):
            Write every generation batch to `output_dir/rollouts/` as Parquet: prompt, completion, rewards, advantage,
            weight and whatever the reward functions log.
    """

    duration_weighting: str = field(
        default="proportional",
        metadata={"help": "'proportional' (advantage x duration / mean duration, the paper) or 'none' (plain GRPO)."},
    )
    duration_clip: float | None = field(
        default=None, metadata={"help": "Largest weight (>= 1); the mean is restored to 1. None: no limit."}
    )
    duration_floor_s: float = field(
        default=0.01,
        metadata={"help": "Shorter durations, and completions that never ran, count as this many seconds."},
    )
    duration_clock: str = field(
        default="wall", metadata={"help": "'wall' (column action_duration) or 'cpu' (column action_cpu_duration)."}
    )
    save_rollouts: bool = field(
        default=True, metadata={"help": "Keep every rollout in output_dir/rollouts/ as Parquet."}
    )

    def __post_init__(self):
        super().__post_init__()
        check_weighting(self.duration_weighting, self.duration_clip, self.duration_floor_s)
        if self.duration_clock not in DURATION_COLUMNS:
            raise ConfigError(f"`duration_clock` is {self.duration_clock!r}; choose 'wall' or 'cpu'.")

    @property
    def duration_column(self) -> str:
        """The `log_extra` column that holds the durations, in seconds."""
        return DURATION_COLUMNS[self.duration_clock]


DURATION_COLUMNS = {"wall": "action_duration", "cpu": "action_cpu_duration"}
"""Name of the `log_extra` column for each `duration_clock`."""
