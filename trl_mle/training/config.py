"""Configuration of [`DurationAwareTrainer`]."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from trl import GRPOConfig

from trl_mle.errors import ConfigError
from trl_mle.training.collapse.settings import CollapseSettings
from trl_mle.training.weighting.config import DurationSettings


@dataclass
class DurationAwareConfig(DurationSettings, CollapseSettings, GRPOConfig):
    """`trl.GRPOConfig` with the parameters of [`DurationSettings`], [`CollapseSettings`] and those below; all else is as in TRL.

    > Parameters that control overlapping execution

    Args:
        overlap_execution (`bool`, *optional*, defaults to `False`):
            Let programs run while the policy generates and learns, instead of waiting for each batch. Completions are then
            trained on late, with the log-probabilities of the policy that wrote them.
        overlap_batches (`int`, *optional*, defaults to `2`):
            Generation batches whose programs are in flight besides the one that is trained on. 0 waits for each batch.
        max_staleness (`int`, *optional*, defaults to `8`):
            Age of a completion, in optimizer steps, up to which its batch may first be trained on. It must be at least the
            number of optimizer steps on `overlap_batches` batches.
        late_programs (`str`, *optional*, defaults to `"wait"`):
            What happens to programs that take longer. `"wait"`: training waits for them, so that none is lost for being slow.
            `"lose"`: they are stopped and lost, and are recorded in the rollouts. A lost program costs a policy less than one
            that fails, unless `duration_weighting` is `"inverse_inclusion"`.

    > Parameters that control the reward

    Args:
        ranked_rewards (list of `str`, *optional*):
            Names of reward functions whose values are replaced by their rank within the group, from -1 to 1, before they
            are normalised. Completions without a value have no rank.

    > Parameters that control what is kept

    Args:
        save_rollouts (`bool`, *optional*, defaults to `True`):
            Write every generation batch to `output_dir/rollouts/` as Parquet: prompt, completion, rewards, advantage,
            weight and whatever the reward functions log.
    """

    overlap_execution: bool = field(
        default=False, metadata={"help": "Let programs run while the policy generates and learns."}
    )
    overlap_batches: int = field(
        default=2, metadata={"help": "Generation batches in flight besides the one that is trained on."}
    )
    max_staleness: int = field(
        default=8,
        metadata={
            "help": "Optimizer steps that a completion may be old when it is trained on; training waits for slower ones."
        },
    )
    late_programs: str = field(
        default="wait",
        metadata={"help": "What happens to programs past max_staleness: 'wait' for them, or 'lose' them."},
    )
    ranked_rewards: list[str] | None = field(
        default=None, metadata={"help": "Reward functions whose values are replaced by their rank within the group."}
    )
    save_rollouts: bool = field(
        default=True, metadata={"help": "Keep every rollout in output_dir/rollouts/ as Parquet."}
    )

    def __post_init__(self):
        super().__post_init__()
        self.check_durations()
        self.check_collapse()
        if self.overlap_execution:
            self._check_overlap()

    def _check_overlap(self) -> None:
        if self.overlap_batches < 0:
            raise ConfigError(f"`overlap_batches` is {self.overlap_batches}; it must be 0 or more.")
        if self.late_programs not in ("wait", "lose"):
            raise ConfigError(f"`late_programs` is {self.late_programs!r}; choose 'wait' or 'lose'.")
        if self.max_staleness < self.overlap_batches * self.steps_per_batch:
            raise ConfigError(
                f"`max_staleness`={self.max_staleness}, but a completion waits about `overlap_batches`={self.overlap_batches} "
                f"batches of {self.steps_per_batch} optimizer steps. Set `max_staleness` to "
                f"{self.overlap_batches * self.steps_per_batch} or more."
            )

    @property
    def steps_per_batch(self) -> int:
        """Optimizer steps on one generation batch, rounded up."""
        return math.ceil((self.steps_per_generation or 1) * self.num_iterations / self.gradient_accumulation_steps)
