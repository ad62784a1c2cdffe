"""The settings of the watch for collapse, which [`DurationAwareConfig`] has as its own."""

from __future__ import annotations

from dataclasses import dataclass, field

from trl_mle.errors import ConfigError

ACTIONS = ("none", "warn", "stop", "rollback")


@dataclass
class CollapseSettings:
    """Parameters that control what happens when the policy collapses (`docs/stability.md`).

    Args:
        collapse_action (`str`, *optional*, defaults to `"warn"`):
            What happens at an alarm. `"none"`: nothing is watched. `"warn"`: a warning and the metrics `collapse/...`, with which
            training does not change. `"stop"`: training ends. `"rollback"`: training goes back to an earlier checkpoint, with a
            lower learning rate. Both need a fall of the reward or of the valid share: the other alarms only warn.
        collapse_entropy (`float`, *optional*, defaults to `0.25`):
            The alarm of entropy: the entropy per token is below this share of what it was in the first batches. `None` for no
            such alarm.
        collapse_distinct (`float`, *optional*, defaults to `0.25`):
            The alarm of repetition: the share of distinct programs (distinct completions, if there is no column `program`) in a
            generation batch is below this share of what it was in the first batches. `None` for no such alarm.
        collapse_reward_drop (`float`, *optional*, defaults to `0.8`):
            The alarm of a broken policy: the mean reward has lost more than this part of what the run has gained. `None` for no
            such alarm.
        collapse_valid_drop (`float`, *optional*, defaults to `0.5`):
            The same for the valid share (`programs/valid_share`, if a reward function logs it): it has lost more than this part of
            its best. `None` for no such alarm.
        collapse_update_kl (`float`, *optional*):
            The alarm of an update that goes too far: KL(policy before || policy after) in nats per token of the last micro-batch.
            After such an update, a fall of reward or valid share in one batch is enough. It costs one more forward pass of a
            micro-batch per optimizer step. `None` measures nothing.
        rollback_lr_factor (`float`, *optional*, defaults to `0.3`):
            Factor of the learning rate, above 0 and at most 1, at each rollback.
        rollback_limit (`int`, *optional*, defaults to `2`):
            Number of rollbacks in a run. At the next alarm training stops.
    """

    collapse_action: str = field(
        default="warn",
        metadata={"help": "What happens when the policy collapses: 'none', 'warn', 'stop' or 'rollback'."},
    )
    collapse_entropy: float | None = field(
        default=0.25,
        metadata={"help": "Alarm if the entropy is below this share of what it was at first. None: no alarm."},
    )
    collapse_distinct: float | None = field(
        default=0.25,
        metadata={
            "help": "Alarm if the share of distinct programs is below this share of what it was at first. None: no alarm."
        },
    )
    collapse_reward_drop: float | None = field(
        default=0.8,
        metadata={"help": "Alarm if the mean reward has lost more than this part of the run's gain. None: no alarm."},
    )
    collapse_valid_drop: float | None = field(
        default=0.5,
        metadata={"help": "Alarm if the valid share has lost more than this part of its best. None: no alarm."},
    )
    collapse_update_kl: float | None = field(
        default=None,
        metadata={
            "help": "Alarm if one update moves the policy by more nats per token than this; costs a forward pass of a "
            "micro-batch per update. None measures nothing."
        },
    )
    rollback_lr_factor: float = field(
        default=0.3, metadata={"help": "Factor of the learning rate at each rollback (above 0, at most 1)."}
    )
    rollback_limit: int = field(
        default=2, metadata={"help": "Number of rollbacks, after which an alarm stops training."}
    )

    def check_collapse(self) -> None:
        """Raise `ConfigError` for a setting that cannot work."""
        if self.collapse_action not in ACTIONS:
            raise ConfigError(
                f"`collapse_action` is {self.collapse_action!r}; choose {', '.join(map(repr, ACTIONS[:-1]))} or 'rollback'."
            )
        for name in ("collapse_entropy", "collapse_distinct", "collapse_reward_drop", "collapse_valid_drop"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1:
                raise ConfigError(f"`{name}` is {value}; it is a share between 0 and 1, or None for no such alarm.")
        if self.collapse_update_kl is not None and not self.collapse_update_kl > 0:
            raise ConfigError(
                f"`collapse_update_kl` is {self.collapse_update_kl}; it is a divergence in nats per token, above 0, or None."
            )
        if not 0 < self.rollback_lr_factor <= 1:
            raise ConfigError(f"`rollback_lr_factor` is {self.rollback_lr_factor}; it must be above 0 and at most 1.")
        if self.rollback_limit < 0:
            raise ConfigError(f"`rollback_limit` is {self.rollback_limit}; it must be 0 or more.")
        if self.collapse_action == "rollback":
            self._check_rollback()

    def _check_rollback(self) -> None:
        strategy = getattr(self, "save_strategy", "steps")
        if strategy not in ("steps", "epoch"):
            raise ConfigError(
                f"`collapse_action` is 'rollback' and `save_strategy` is {str(getattr(strategy, 'value', strategy))!r}: there "
                "would be no checkpoint to go back to. Set `save_strategy: steps` and `save_steps`."
            )
        if getattr(self, "save_total_limit", None) == 1:
            raise ConfigError(
                "`collapse_action` is 'rollback' and `save_total_limit` is 1: the only checkpoint may be that of a policy that "
                "is broken already. Set `save_total_limit` to 2 or more."
            )
        if getattr(self, "save_only_model", False):
            raise ConfigError(
                "`collapse_action` is 'rollback' and `save_only_model` is set: a rollback needs the optimizer, too. Leave "
                "`save_only_model` out."
            )
