"""Configuration of [`DurationAwareTrainer`]."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from trl import GRPOConfig

from trl_mle.errors import ConfigError
from trl_mle.training.collapse.settings import CollapseSettings
from trl_mle.training.turn_credit.settings import TurnCreditSettings
from trl_mle.training.turns.settings import TurnSettings
from trl_mle.training.weighting.config import DurationSettings


@dataclass
class DurationAwareConfig(DurationSettings, TurnCreditSettings, CollapseSettings, TurnSettings, GRPOConfig):
    """`trl.GRPOConfig` with the parameters below and those of its other base classes.

    These are [`DurationSettings`], [`TurnCreditSettings`], [`CollapseSettings`] and [`TurnSettings`]. All else is as in TRL.

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
        overlap_order (`str`, *optional*, defaults to `"finished"`):
            Which groups are trained on first. `"finished"`: those whose programs have finished, the oldest first.
            `"launched"`: strictly the oldest, which are waited for. What is trained on then depends on no duration, so that two
            runs, and a resumed run, are the same to the bit; a slow program holds up training sooner. Not with
            `late_programs="lose"`.

    > Parameters that control the reward

    Args:
        ranked_rewards (list of `str`, *optional*):
            Names of reward functions whose values are replaced by their rank within the group, from -1 to 1, before they
            are normalised. Completions without a value have no rank.
        reward_scale_column (`str`, *optional*):
            Column of the data set, such as `task`: advantages are divided by a running standard deviation of the rewards within
            groups, one per value of that column. It makes tasks with large and small rewards comparable, and needs
            `scale_rewards: none`.

    > Parameters that control groups without variance

    Args:
        replace_flat_groups (`bool`, *optional*, defaults to `False`):
            Train on a recent group whose rewards differ in place of each group whose rewards are all equal, which teaches
            nothing. No further program runs for it.
        flat_group_max_age (`int`, *optional*, defaults to `8`):
            Optimizer steps since a group was first trained on, up to which it may take the place of another.
        flat_group_max_uses (`int`, *optional*, defaults to `1`):
            How often a group may take the place of another.

    > Parameters that control the speed of learning

    Args:
        share_prompts (`bool`, *optional*, defaults to `False`):
            Learning reads a prompt once for all completions of a micro-batch that answer it. Losses and gradients are the same
            up to rounding. Needs the keys and values of the prompt, hence no `gradient_checkpointing`; not with DeepSpeed or
            FSDP.

    > Parameters that control what is kept

    Args:
        save_rollouts (`bool`, *optional*, defaults to `True`):
            Write every generation batch to `output_dir/rollouts/` as Parquet: prompt, completion, rewards, advantage,
            weight and whatever the reward functions log.
        logged_programs (`int`, *optional*, defaults to `4`):
            How many of the best programs of a batch, and how many of the worst, are sent as a table to the trackers of
            `report_to` (`wandb`, `trackio`, `tensorboard`) with each log. 0 sends none.
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
    overlap_order: str = field(
        default="finished",
        metadata={
            "help": "Which groups are trained on first: the oldest 'finished' ones, or strictly those 'launched' first."
        },
    )
    ranked_rewards: list[str] | None = field(
        default=None, metadata={"help": "Reward functions whose values are replaced by their rank within the group."}
    )
    reward_scale_column: str | None = field(
        default=None,
        metadata={"help": "Column of the data set, such as task, whose values have a scale of rewards each."},
    )
    replace_flat_groups: bool = field(
        default=False, metadata={"help": "Train on recent groups with differing rewards in place of those without."}
    )
    flat_group_max_age: int = field(
        default=8, metadata={"help": "Optimizer steps up to which a group may take the place of another."}
    )
    flat_group_max_uses: int = field(default=1, metadata={"help": "How often a group may take the place of another."})
    share_prompts: bool = field(
        default=False,
        metadata={"help": "Learning reads a prompt once for all completions of a micro-batch that answer it."},
    )
    save_rollouts: bool = field(
        default=True, metadata={"help": "Keep every rollout in output_dir/rollouts/ as Parquet."}
    )
    logged_programs: int = field(
        default=4,
        metadata={
            "help": "Best and worst programs of a batch in the table for wandb, trackio and tensorboard; 0: no table."
        },
    )

    def __post_init__(self):
        super().__post_init__()
        self.check_durations()
        self.check_collapse()
        self.check_turns()
        self.check_turn_credit()
        if self.logged_programs < 0:
            raise ConfigError(f"`logged_programs` is {self.logged_programs}; it must be 0 or more.")
        if self.overlap_execution:
            self._check_overlap()
        if self.replace_flat_groups:
            self._check_flat_groups()
        self.check_reward_scale()

    def check_reward_scale(self) -> None:
        """Raise `ConfigError` if `reward_scale_column` cannot work. The trainer asks again: settings may have changed since."""
        if self.reward_scale_column is None:
            return
        if self.ranked_rewards:
            raise ConfigError(
                f"`reward_scale_column` is {self.reward_scale_column!r}, but `ranked_rewards` already puts all rewards on one "
                "scale. Set one of them."
            )
        if self.scale_rewards != "none" or self.multi_objective_aggregation != "sum_then_normalize":
            raise ConfigError(
                f"`reward_scale_column` is {self.reward_scale_column!r}, but `scale_rewards`={self.scale_rewards!r} and "
                f"`multi_objective_aggregation`={self.multi_objective_aggregation!r} already scale rewards. Set `scale_rewards: "
                "none` and `multi_objective_aggregation: sum_then_normalize`."
            )

    def _check_flat_groups(self) -> None:
        if self.flat_group_max_uses < 1:
            raise ConfigError(
                f"`flat_group_max_uses` is {self.flat_group_max_uses}; it must be 1 or more. `replace_flat_groups: false` "
                "replaces none."
            )
        if self.flat_group_max_age < self.steps_per_batch:
            raise ConfigError(
                f"`flat_group_max_age`={self.flat_group_max_age}, but the next batch comes {self.steps_per_batch} optimizer steps "
                f"later, so that no group would be used again. Set `flat_group_max_age` to {self.steps_per_batch} or more."
            )

    def _check_overlap(self) -> None:
        if self.overlap_batches < 0:
            raise ConfigError(f"`overlap_batches` is {self.overlap_batches}; it must be 0 or more.")
        if self.late_programs not in ("wait", "lose"):
            raise ConfigError(f"`late_programs` is {self.late_programs!r}; choose 'wait' or 'lose'.")
        self.check_losses(self.late_programs)
        if self.overlap_order not in ("finished", "launched"):
            raise ConfigError(f"`overlap_order` is {self.overlap_order!r}; choose 'finished' or 'launched'.")
        if self.overlap_order == "launched" and self.late_programs == "lose":
            raise ConfigError(
                "`overlap_order` is 'launched', which waits for every program, and `late_programs` is 'lose'. Set "
                "`late_programs='wait'` or `overlap_order='finished'`."
            )
        if self.max_staleness < self.overlap_batches * self.steps_per_batch:
            raise ConfigError(
                f"`max_staleness`={self.max_staleness}, but a completion waits about `overlap_batches`={self.overlap_batches} "
                f"batches of {self.steps_per_batch} optimizer steps. Set `max_staleness` to "
                f"{self.overlap_batches * self.steps_per_batch} or more."
            )

    @property
    def steps_per_batch(self) -> int:
        """Most optimizer steps that one generation batch takes part in. It may begin and end within steps."""
        micro_steps, per_step = (
            (self.steps_per_generation or 1) * self.num_iterations,
            self.gradient_accumulation_steps,
        )
        latest_start = per_step - math.gcd(micro_steps, per_step)
        return math.ceil((latest_start + micro_steps) / per_step)
