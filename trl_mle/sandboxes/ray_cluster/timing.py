"""Durations of `RaySandbox` that are no settings of users, and the speed of transfers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RayTiming:
    """Values that only tests change. Durations are in seconds."""

    look_s: float = 2.0
    """How often the cluster is checked for nodes that have joined or left."""
    others_s: float = 30.0
    """How long the first ready node waits for the others when the sandbox starts."""
    close_s: float = 20.0
    """Longest time that the check of the cluster may take to end when the sandbox closes."""
    answer_s: float = 180.0
    """Longest time from the wall-clock limit of a program to the reply of its node."""
    slowest_bytes_per_s: float = 4 * 1024**2
    """Slowest transfer of public files to a node that is waited for, in bytes per second."""
    stop_s: float = 10.0
    """Longest time that an actor may take to stop before it is killed."""
    cancel_s: float = 25.0
    """Longest time that an actor may take to stop a cancelled program before the actor is replaced."""
    first_pause_s: float = 1.0
    """Pause before the first restart of an actor; it doubles with each further one."""
    longest_pause_s: float = 60.0
    """Longest pause before a restart of an actor."""
