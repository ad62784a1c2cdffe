"""Configuration of [`DurationAwareTrainer`]."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from trl import GRPOConfig

from trl_mle.errors import ConfigError
from trl_mle.training.duration import check_weighting
from trl_mle.training.inclusion import parse_rule


@dataclass
class DurationAwareConfig(GRPOConfig):
    """`trl.GRPOConfig` with the parameters of duration-aware training; everything else is as in TRL.

    > Parameters that control the weighting by duration

    Args:
        duration_weighting (`str`, *optional*, defaults to `"proportional"`):
            `"proportional"` multiplies every advantage by duration / mean duration of the global generation batch (the
            paper's rule). `"inverse_inclusion"` multiplies by one over the probability that a sample of that duration
            reaches the learner under `duration_rule`, which undoes a bias to fast programs where slow ones are lost.
            `"none"` trains exactly as `trl.GRPOTrainer`. `docs/duration.md` says which one fits.
        duration_exponent (`float`, *optional*, defaults to `1.0`):
            Power of the weights, before their mean is made 1: 0.5 is half way, in logarithms, from `"none"` to the rule.
        duration_clip (`float`, *optional*):
            Largest weight, at least 1. The mean of the weights is restored to 1 afterwards.
        duration_floor_s (`float`, *optional*, defaults to `0.01`):
            Shorter durations, and completions that never ran, count as this many seconds.
        duration_clock (`str`, *optional*, defaults to `"wall"`):
            Which clock the trainer uses where a reward function reports both: `"wall"` reads the column
            `action_duration`, `"cpu"` reads `action_cpu_duration` (user and system seconds, children included), which
            does not depend on what else the machine does.
        duration_rule (`str`, *optional*, defaults to `"measured"`):
            For `"inverse_inclusion"`: how samples are collected. `"measured"` estimates the probabilities from the durations
            of finished and lost samples (Kaplan-Meier) and fits every rule whose losses are reported; nothing reported lost,
            all weights are 1. Stated rules: `"timeout:600"` (seconds; `"timeout:600/0.5"` with the standard deviation of
            log(wall / CPU seconds)), `"window:120"` (seconds, all actors start together; `"window:120/even"` out of step),
            `"first:96/128"` (kept / started), `"staleness:2/30"` (updates / seconds between updates; `"staleness:2/30/5"`
            with the standard deviation of these seconds).
        duration_min_inclusion (`float`, *optional*, defaults to `0.02`):
            Smaller probabilities count as this one. The metric `duration/inclusion_floor_share` says how often.
        duration_memory (`int`, *optional*, defaults to `4096`):
            Number of durations, the newest ones, that the probabilities are estimated from.

    > Parameters that control overlapping execution

    Args:
        overlap_execution (`bool`, *optional*, defaults to `False`):
            Let programs run while the policy generates and learns, instead of waiting for each batch. Completions then
            come to training late, with the log-probabilities of the policy that wrote them.
        overlap_batches (`int`, *optional*, defaults to `2`):
            Generation batches whose programs are in flight beside the one that is trained on. 0 waits for each batch.
        max_staleness (`int`, *optional*, defaults to `8`):
            Optimizer steps that a completion may be old when its batch is first trained on. Programs that take longer are
            stopped and lost; the log says which. At least the steps that pass in `overlap_batches` batches.

    > Parameters that control what is kept

    Args:
        save_rollouts (`bool`, *optional*, defaults to `True`):
            Write every generation batch to `output_dir/rollouts/` as Parquet: prompt, completion, rewards, advantage,
            weight and whatever the reward functions log.
    """

    duration_weighting: str = field(
        default="proportional",
        metadata={
            "help": "'proportional' (advantage x duration / mean duration, the paper), 'inverse_inclusion' (advantage / "
            "probability that a sample of that duration is not lost) or 'none' (plain GRPO)."
        },
    )
    duration_exponent: float = field(
        default=1.0, metadata={"help": "Power of the weights, before their mean is made 1 (0: no weighting)."}
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
    overlap_execution: bool = field(
        default=False, metadata={"help": "Let programs run while the policy generates and learns."}
    )
    overlap_batches: int = field(
        default=2, metadata={"help": "Generation batches in flight beside the one that is trained on."}
    )
    max_staleness: int = field(
        default=8, metadata={"help": "Optimizer steps that a completion may be old when it is trained on."}
    )
    duration_rule: str = field(
        default="measured",
        metadata={
            "help": "How samples are collected, for 'inverse_inclusion': 'measured' (from the samples reported lost), "
            "'timeout:600', 'window:120', 'window:120/even', 'first:96/128' or 'staleness:2/30'."
        },
    )
    duration_min_inclusion: float = field(
        default=0.02, metadata={"help": "Smaller probabilities of inclusion count as this one."}
    )
    duration_memory: int = field(
        default=4096, metadata={"help": "Number of durations that probabilities of inclusion are estimated from."}
    )
    save_rollouts: bool = field(
        default=True, metadata={"help": "Keep every rollout in output_dir/rollouts/ as Parquet."}
    )

    def __post_init__(self):
        super().__post_init__()
        check_weighting(
            self.duration_weighting,
            self.duration_clip,
            self.duration_floor_s,
            self.duration_exponent,
            self.duration_min_inclusion,
        )
        parse_rule(self.duration_rule)
        if self.duration_memory < 1:
            raise ConfigError(
                f"`duration_memory` is {self.duration_memory}; it is a number of durations: at least 1, best a thousand or more."
            )
        if self.duration_clock not in DURATION_COLUMNS:
            raise ConfigError(f"`duration_clock` is {self.duration_clock!r}; choose 'wall' or 'cpu'.")
        if self.overlap_execution:
            self._check_overlap()

    def _check_overlap(self) -> None:
        if self.overlap_batches < 0:
            raise ConfigError(f"`overlap_batches` is {self.overlap_batches}; it must be 0 or more.")
        if self.max_staleness < self.overlap_batches * self.steps_per_batch:
            raise ConfigError(
                f"`max_staleness`={self.max_staleness}, but a completion waits about `overlap_batches`={self.overlap_batches} "
                f"batches of {self.steps_per_batch} optimizer steps. Set `max_staleness` to "
                f"{self.overlap_batches * self.steps_per_batch} or more."
            )
        if self.multi_objective_aggregation != "sum_then_normalize":
            raise ConfigError(
                f"`multi_objective_aggregation`={self.multi_objective_aggregation!r} does not work with `overlap_execution`, "
                "where lost programs have no reward. Set it to 'sum_then_normalize'."
            )

    @property
    def steps_per_batch(self) -> int:
        """Optimizer steps that are made on one generation batch, rounded up."""
        return math.ceil((self.steps_per_generation or 1) * self.num_iterations / self.gradient_accumulation_steps)

    @property
    def duration_column(self) -> str:
        """The `log_extra` column that holds the durations, in seconds."""
        return DURATION_COLUMNS[self.duration_clock]


DURATION_COLUMNS = {"wall": "action_duration", "cpu": "action_cpu_duration"}
"""Name of the `log_extra` column for each `duration_clock`."""
