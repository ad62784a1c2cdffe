"""The settings of the weighting, which the configurations of both trainers share."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from trl_mle.errors import ConfigError
from trl_mle.training.weighting.duration import check_weighting
from trl_mle.training.weighting.inclusion import parse_rule
from trl_mle.training.weighting.rules import RULES

DURATION_COLUMNS = {"wall": "action_duration", "cpu": "action_cpu_duration"}
"""Name of the `log_extra` column for each `duration_clock`."""


def _rules_help() -> str:
    return "; ".join(f"'{name}' ({rule.summary})" if rule.summary else f"'{name}'" for name, rule in RULES.items())


def _check_kinds(config: object) -> None:
    """Raise `ConfigError` for text or `None` where a setting of this package has another type. Recipes convert text before."""
    for base in type(config).__mro__:
        own = vars(base).get("__annotations__", {}) if base.__module__.startswith("trl_mle.") else {}
        for name, kind in own.items():
            value = getattr(config, name)
            wrong_text = isinstance(value, str) and "str" not in re.split(r" \| ", kind)
            if wrong_text or (value is None and "None" not in kind):
                raise ConfigError(f"`{name}` is {value!r}; its type is `{kind}`.")


@dataclass
class DurationSettings:
    """Parameters that control the weighting by duration, for a configuration of TRL.

    Args:
        duration_weighting (`str`, *optional*, defaults to `"proportional"`):
            A rule of `weighting/rules/`. `"proportional"` multiplies every advantage by duration / mean duration (the
            paper's rule). The mean is over the global generation batch or, with asynchronous rollouts, over the samples
            of one optimizer step of all processes. `"inverse_inclusion"` multiplies by one over the probability that a
            sample of that duration reaches the learner under `duration_rule`, which undoes a bias to fast programs if
            slow ones are lost. `"none"` trains exactly as TRL's own trainer. `docs/duration.md` says which one fits.
        duration_exponent (`float`, *optional*, defaults to `1.0`):
            Power of the weights, before they are scaled to mean 1. 0.5 is half way, in logarithms, from `"none"` to the
            rule.
        duration_clip (`float`, *optional*, defaults to `4.0`):
            Largest weight, at least 1; `None` for no limit. The mean of the weights is restored to 1 afterwards. It bounds what
            a program gains by being slow.
        duration_floor_s (`float`, *optional*, defaults to `1.0`):
            Shorter durations, and completions that never ran, count as this many seconds. It keeps the penalty of a failure
            from vanishing: beside programs of 5 s, a crash after 20 ms would weigh 0.004. The paper's bare rule is
            `duration_floor_s: 0.01` with `duration_clip: null`.
        duration_clock (`str`, *optional*, defaults to `"wall"`):
            Clock of the durations. `"wall"` reads the column `action_duration`. `"cpu"` reads `action_cpu_duration` (user
            and system seconds, children included), which does not depend on other load of the machine. Sleep costs nothing
            then.
        duration_rule (`str`, *optional*, defaults to `"measured"`):
            For `"inverse_inclusion"`: how samples are collected. `"measured"` estimates the probabilities from the durations
            of finished and lost samples (Kaplan-Meier) and fits every way to collect whose losses are reported. If no
            loss is reported, all weights are 1. Stated rules: `"timeout:600"` (seconds; `"timeout:600/0.5"` with the standard
            deviation of log(wall / CPU seconds)), `"window:120"` (seconds, all actors start together; `"window:120/even"`
            out of step), `"first:96/128"` (kept / started), `"staleness:2/30"` (updates / seconds between updates;
            `"staleness:2/30/5"` with the standard deviation of these seconds).
        duration_min_inclusion (`float`, *optional*, defaults to `0.02`):
            Smaller probabilities count as this one. The metric `duration/inclusion_floor_share` says how often.
        duration_memory (`int`, *optional*, defaults to `4096`):
            Number of newest durations from which the probabilities are estimated.
    """

    duration_weighting: str = field(
        default="proportional",
        metadata={"help": f"Weighting by duration: {_rules_help()}."},
    )
    duration_exponent: float = field(
        default=1.0, metadata={"help": "Power of the weights, before they are scaled to mean 1 (0: no weighting)."}
    )
    duration_clip: float | None = field(
        default=4.0, metadata={"help": "Largest weight (>= 1); the mean is restored to 1. None: no limit."}
    )
    duration_floor_s: float = field(
        default=1.0,
        metadata={"help": "Shorter durations, and completions that never ran, count as this many seconds."},
    )
    duration_clock: str = field(
        default="wall", metadata={"help": "'wall' (column action_duration) or 'cpu' (column action_cpu_duration)."}
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

    def check_durations(self) -> None:
        """Raise `ConfigError` for a setting that cannot work."""
        _check_kinds(self)
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
                f"`duration_memory` is {self.duration_memory}; it is a number of durations, at least 1. "
                "A thousand or more are best."
            )
        if self.duration_clock not in DURATION_COLUMNS:
            raise ConfigError(f"`duration_clock` is {self.duration_clock!r}; choose 'wall' or 'cpu'.")

    def check_losses(self, late_programs: str) -> None:
        """Raise `ConfigError` if losses would be compared with durations of another clock.

        Args:
            late_programs (`str`):
                What happens to late programs: `"wait"` or `"lose"`.
        """
        # Of a program that is stopped, or of a group that is dropped, only the wall-clock seconds are known.
        if late_programs != "lose" or self.duration_clock != "cpu" or self.duration_rule != "measured":
            return
        if RULES[self.duration_weighting].needs_inclusion:
            raise ConfigError(
                f"`duration_weighting` is {self.duration_weighting!r} with `duration_clock: cpu`, but programs that "
                "`late_programs: lose` loses are measured by the wall clock, so that `duration_rule: measured` would mix both. "
                "Set `duration_clock: wall`, or `late_programs: wait`, which loses none."
            )

    @property
    def duration_column(self) -> str:
        """The column of `log_extra`, and key of `sample.metrics`, that holds the durations in seconds."""
        return DURATION_COLUMNS[self.duration_clock]
