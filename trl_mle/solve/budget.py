"""`--budget`: how long a search may take, as text and as a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable

from trl_mle.errors import ConfigError

LONGEST_S = 30 * 24 * 3600.0
"""Longest budget, in seconds."""


def parse_budget(text: str) -> float:
    """Seconds of a budget such as `30m`, `1h30m`, `90s` or `0.5h`.

    Raises:
        ConfigError: the text is no duration with a unit, is not positive, or is more than 30 days.
    """
    import pandas as pd

    advice = "Write a number with a unit, such as `30m`, `1h30m` or `90s`"
    stripped = str(text).strip()
    # Without a unit, pandas would read nanoseconds.
    if not any(letter in stripped.lower() for letter in "smhd"):
        raise ConfigError(f"`--budget` is {text!r}, which has no unit. {advice}.")
    try:
        seconds = pd.Timedelta(stripped.lower()).total_seconds()
    except (ValueError, OverflowError):
        raise ConfigError(f"`--budget` is {text!r}, which is no duration. {advice}.") from None
    if not 1.0 <= seconds <= LONGEST_S:  # also false for "NaT"
        raise ConfigError(f"`--budget` is {text!r}; it must be at least a second and at most 30 days. {advice}.")
    return float(seconds)


class Deadline:
    """A point in time on a monotonic clock.

    Args:
        seconds (`float`):
            Seconds from now.
        clock (`Callable[[], float]`, *optional*):
            Monotonic seconds.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic):
        self.seconds = seconds
        self._clock = clock
        self._start = clock()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._start

    @property
    def left_s(self) -> float:
        """Seconds that are left; 0 once the deadline is over."""
        return max(0.0, self.seconds - self.elapsed_s)
