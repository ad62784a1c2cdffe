"""Durations of the pool that are no settings of users."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PoolTiming:
    """Durations that only tests change, in seconds."""

    look_s: float = 2.0
    """How often a non-empty queue checks whether the sandbox has more workers than before."""
    soonest_look_s: float = 0.01
    """Shortest time between two checks while the sandbox is down."""
    line_after_s: float = 0.5
    """How long programs have to be under way before the live line appears."""
    first_pause_s: float = 0.1
    """Upper end of the random pause before the first retry; it doubles with each further one."""
    longest_pause_s: float = 5.0
    """Upper end of the random pause before any retry."""
    longest_retry_after_s: float = 300.0
    """Longest pause that a backend may ask for."""
