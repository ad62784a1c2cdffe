"""The settings of credit per turn, which [`DurationAwareConfig`] has as its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from trl_mle.errors import ConfigError

CREDITS = ("episode", "return")


@dataclass
class TurnCreditSettings:
    """Parameters that control which action of a completion is credited with a reward (`docs/agents.md`).

    Args:
        turn_credit (`str`, *optional*, defaults to `"episode"`):
            Advantage of the actions of one completion. `"episode"`: all have the advantage of the completion, as in TRL.
            `"return"`: each has that of what the episode earned from it on, against the other completions of the group that
            reached the same turn. Reward functions report it by `log_extra("per_action_rewards", rows)`. The expected gradient
            is the same, except for what `scale_rewards` and duration weights do to both; the variance is not.
        turn_discount (`float`, *optional*, defaults to `1.0`):
            With `turn_credit="return"`: factor, above 0 and at most 1, of a reward per turn between an action and the reward.
            Less than 1 prefers rewards that come soon, and then the gradient is no longer that of the reward.
    """

    turn_credit: str = field(
        default="episode",
        metadata={
            "help": "Advantage of an action: that of the 'episode', or of its 'return', what the episode earned from it on."
        },
    )
    turn_discount: float = field(
        default=1.0, metadata={"help": "Factor of a reward per turn before it, for turn_credit 'return'."}
    )

    def check_turn_credit(self) -> None:
        """Raise `ConfigError` for settings that cannot work. The trainer asks again: settings may have changed since."""
        if self.turn_credit not in CREDITS:
            raise ConfigError(f"`turn_credit` is {self.turn_credit!r}; choose 'episode' or 'return'.")
        if not 0.0 < self.turn_discount <= 1.0:
            raise ConfigError(f"`turn_discount` is {self.turn_discount}; it must be above 0 and at most 1.")
        if self.turn_credit == "episode":
            if self.turn_discount != 1.0:
                raise ConfigError(
                    f"`turn_discount` is {self.turn_discount}, but `turn_credit` is 'episode', which has no turns. Set "
                    "`turn_credit: return`, or leave `turn_discount` out."
                )
            return
        self._check_single_reward()

    def _check_single_reward(self) -> None:
        # Fields of `GRPOConfig` and `DurationAwareConfig`.
        settings: Any = self
        if settings.multi_objective_aggregation != "sum_then_normalize":
            raise ConfigError(
                "`turn_credit` is 'return', which divides the weighted sum of the rewards among the turns, but "
                f"`multi_objective_aggregation`={settings.multi_objective_aggregation!r} normalises each reward function apart. "
                "Set `multi_objective_aggregation: sum_then_normalize` (`reward_aggregation: sum` for `trl-mle grpo`), or "
                "`turn_credit: episode`."
            )
        if settings.ranked_rewards:
            raise ConfigError(
                f"`turn_credit` is 'return', but `ranked_rewards` ({settings.ranked_rewards}) puts ranks in the place of rewards, "
                "which no turn earns. Set one of them."
            )
