"""A watch on time without CPU in valid programs: a policy whose weight grows with wall-clock time may learn to sleep."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from statistics import median

from trl_mle.types import Outcome

MEMORY = 64
"""Valid programs that the early and the present share are taken from."""
GROWTH, LEAST = 0.25, 0.4
"""The present share of idle time is named if it exceeds the early one by `GROWTH` and is at least `LEAST`."""
SHORTEST_S = 0.2
"""Shorter programs are not counted: their wall-clock time is mostly the machine's."""


def idle_share(outcome: Outcome) -> float | None:
    """Share of a valid program's wall-clock seconds in which it used no CPU, from 0 to 1; `None` for other programs."""
    execution = outcome.execution
    if outcome.kind != "valid" or execution is None or execution.wall_s < SHORTEST_S:
        return None
    return max(0.0, 1.0 - execution.cpu_s / execution.wall_s)


class IdleWatch:
    """Compares the idle share of the newest valid programs of one process with that of its first ones.

    Medians are compared, so that a few programs on a busy machine say nothing. Nothing is kept in a checkpoint: after a resume,
    the first programs are those that come then.
    """

    def __init__(self) -> None:
        self._early: list[float] = []
        self._recent: deque[float] = deque(maxlen=MEMORY)
        self._said = False

    def observe(self, outcomes: Sequence[Outcome]) -> str | None:
        """Take in a batch. Returns the warning if idle time has grown; once."""
        for outcome in outcomes:
            share = idle_share(outcome)
            if share is None:
                continue
            if len(self._early) < MEMORY:
                self._early.append(share)
            else:
                self._recent.append(share)
        if self._said or len(self._recent) < MEMORY:
            return None
        early, recent = median(self._early), median(self._recent)
        if recent < LEAST or recent < early + GROWTH:
            return None
        self._said = True
        return (
            f"Valid programs are idle for {recent:.0%} of their time, at first it was {early:.0%}: the policy may have learnt to "
            "sleep, because longer programs weigh more. Set `duration_clock: cpu`, or `duration_weighting: none`; look at the "
            "programs in `rollouts/`. A machine that is overloaded looks the same."
        )
