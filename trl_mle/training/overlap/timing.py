"""Intervals and limits of overlapping execution."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class OverlapTiming:
    """How [`OverlapExecution`] waits for programs."""

    poll_s: float = 0.02
    """Seconds between two looks at the running programs."""
    wait_warning_s: float = 120.0
    """Seconds without a batch after which a run says what it waits for, and notes programs that have run for as long (see
    `overlap/stragglers.py`). The next warning comes after twice as many."""
    sync_threads: int = 32
    """Calls of reward functions that are not `async` which run at the same time, per process."""
    stop_s: float = 5.0
    """Seconds that `async` reward functions have to end when training has ended and stopped them."""
