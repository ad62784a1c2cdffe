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
        keep_bytes (`int`, *optional*, defaults to 8 MiB):
            Bytes of the files that a program leaves for the next one of its episode. A rollout holds as much memory
            until its last program has run; 0 keeps none.
    """

    runs: int = 4
    seconds: float | None = None
    observation_characters: int = 2000
    keep_bytes: int = 8 * 1024**2

    def __post_init__(self):
        for name in ("runs", "observation_characters", "keep_bytes"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise ConfigError(f"`{name}` is {value!r}; it must be a whole number.")
        check_least(self, runs=1, observation_characters=LEAST_CHARACTERS, keep_bytes=0)
        check_seconds(self, "seconds")

    def seconds_for(self, limit_s: float) -> float:
        """Seconds of execution of an episode whose programs may run for `limit_s` seconds each."""
        return self.runs * limit_s if self.seconds is None else self.seconds
