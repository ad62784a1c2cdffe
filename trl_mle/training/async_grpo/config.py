"""Configuration of [`AsyncDurationAwareTrainer`]."""

from __future__ import annotations

from dataclasses import dataclass, field

from trl_mle.errors import ConfigError
from trl_mle.training.async_grpo.trl_imports import AsyncGRPOConfig
from trl_mle.training.weighting.config import DurationSettings


@dataclass
class AsyncDurationAwareConfig(DurationSettings, AsyncGRPOConfig):
    """TRL's `AsyncGRPOConfig` with the parameters of [`DurationSettings`]; everything else is as in TRL.

    > Parameters that control late programs

    Args:
        late_programs (`str`, *optional*, defaults to `"wait"`):
            What happens to programs that take long. `"wait"`: no more groups start than can be trained on within
            `max_staleness`, training waits for the oldest ones in time, and nothing is discarded. `"lose"`: as in TRL,
            groups start as soon as there is room, and what is older than `max_staleness` is dropped, and recorded as lost.
            A lost program costs a policy less than one that fails, unless `duration_weighting` is `"inverse_inclusion"`. A
            rollout worker of the user's own is not paced.

    > Parameters that control what is kept

    Args:
        save_rollouts (`bool`, *optional*, defaults to `True`):
            Write the samples of every optimizer step, and those that were too stale, to `output_dir/rollouts/`.
    """

    late_programs: str = field(
        default="wait",
        metadata={"help": "What happens to programs past max_staleness: 'wait' for them, or 'lose' them."},
    )
    save_rollouts: bool = field(
        default=True, metadata={"help": "Keep every sample in output_dir/rollouts/ as Parquet."}
    )

    def __post_init__(self):
        super().__post_init__()
        self.check_durations()
        if self.late_programs not in ("wait", "lose"):
            raise ConfigError(f"`late_programs` is {self.late_programs!r}; choose 'wait' or 'lose'.")
        self.check_losses(self.late_programs)
