"""How long the host waits for its workers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LocalTiming:
    """Time limits of `LocalSandbox` for its own processes, in seconds. Those of programs are `Limits`."""

    startup_s: float = 180.0
    """Longest time until a worker has imported what it should."""
    answer_s: float = 120.0
    """How long after the wall-clock limit of a program its worker may take to reply."""
    unguarded_answer_s: float = 20.0
    """The same where programs can send signals to the worker."""
    stop_s: float = 15.0
    """How long a worker may take to end before it is killed, and how long its folder may resist removal."""
    retry_s: float = 0.01
    """Pause between two attempts to remove a worker's folder."""
