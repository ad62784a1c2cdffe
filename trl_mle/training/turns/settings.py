"""The settings of rollouts with tools, which [`DurationAwareConfig`] has as its own."""

from __future__ import annotations

from dataclasses import dataclass, field

from trl_mle.errors import ConfigError

TOOL_ROLLOUTS = ("together", "independent", "sequential")


@dataclass
class TurnSettings:
    """Parameters that control rollouts with tools or environments (`docs/agents.md`).

    Args:
        tool_rollouts (`str`, *optional*, defaults to `"together"`):
            How the rollouts of a generation batch advance. `"together"`: the asynchronous tool calls of all rollouts run at the
            same time, and all rollouts generate their next turn in one batch, as with TRL. `"independent"`: a rollout generates
            its next turn as soon as its own tools have answered, together with the others that are ready, and waits for no
            slower one. The batches of generation, and with them the random numbers of the sampling, then depend on how long tools
            take. `"sequential"`: TRL's own loop, in which one rollout's tools run after another's.
        tool_timeout_s (`float`, *optional*):
            Seconds after which an asynchronous tool call is cancelled, and the rollout gets an error message as its result. `None`
            for no limit. It is refused for [`MLESpec`], whose programs have limits of their own.
    """

    tool_rollouts: str = field(
        default="together",
        metadata={
            "help": "How rollouts with tools advance: tools at the same time and turns 'together', each rollout at its own pace "
            "('independent'), or one rollout's tools after another's ('sequential')."
        },
    )
    tool_timeout_s: float | None = field(
        default=None,
        metadata={"help": "Seconds after which an asynchronous tool call is cancelled. None: no limit."},
    )

    def check_turns(self) -> None:
        """Raise `ConfigError` for a setting that cannot work."""
        if self.tool_rollouts not in TOOL_ROLLOUTS:
            raise ConfigError(
                f"`tool_rollouts` is {self.tool_rollouts!r}; choose 'together', 'independent' or 'sequential'."
            )
        if self.tool_timeout_s is None:
            return
        if not self.tool_timeout_s > 0:
            raise ConfigError(
                f"`tool_timeout_s` is {self.tool_timeout_s}; it is a number of seconds above 0, or None."
            )
        if self.tool_rollouts == "sequential":
            raise ConfigError(
                f"`tool_timeout_s` is {self.tool_timeout_s}, but `tool_rollouts` is 'sequential', TRL's own loop, which has no "
                "limit. Set `tool_rollouts: together`."
            )
