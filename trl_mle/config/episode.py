"""Settings of an episode: what one rollout of an agent may use."""

from __future__ import annotations

from dataclasses import dataclass

from trl_mle.config.base import check_least, check_seconds
from trl_mle.errors import ConfigError

LEAST_CHARACTERS = 500
"""Shortest observation, in characters: the facts about a run have room in it."""


@dataclass(frozen=True)
class EpisodeBudget:
    """What one rollout of an agent may use.

    Args:
        runs (`int`, *optional*, defaults to `4`):
            Calls of `run_program`. A call whose argument holds no program counts, too.
        seconds (`float`, *optional*):
            Seconds of execution of all programs together. The last program is stopped where they end. Defaults to `runs`
            times the limit of one program.
        observation_characters (`int`, *optional*, defaults to `2000`):
            Longest text that a tool answers with, in characters.
    """

    runs: int = 4
    seconds: float | None = None
    observation_characters: int = 2000

    def __post_init__(self):
        for name in ("runs", "observation_characters"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise ConfigError(f"`{name}` is {value!r}; it must be a whole number.")
        check_least(self, runs=1, observation_characters=LEAST_CHARACTERS)
        check_seconds(self, "seconds")

    def seconds_for(self, limit_s: float) -> float:
        """Seconds of execution of an episode whose programs may run for `limit_s` seconds each."""
        return self.runs * limit_s if self.seconds is None else self.seconds
