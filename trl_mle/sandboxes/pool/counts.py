"""Counts of a pool's programs, and the classification of faults, which is the same for every backend."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import get_args

from trl_mle.errors import SandboxError, SandboxUnavailableError
from trl_mle.types import Execution, ExecutionStatus

FAULTS = ("not_started", "may_have_started", "no_answer", "waited", "outage", "unavailable", "closed", "bug")
"""Classes of faults.

- `not_started`: the backend failed before the program started
- `may_have_started`: the backend failed, perhaps after the program started
- `no_answer`: the backend did not answer in time
- `waited`: the program waited for longer than `queue_s`
- `outage`: the backend was down for longer than `outage_s`
- `unavailable`: the backend cannot work as configured
- `closed`: the pool was closed
- `bug`: an exception that no sandbox should raise
"""


class PoolFaultError(SandboxError):
    """A fault that the pool itself has found. It is never retried.

    Args:
        kind (`str`):
            One of `FAULTS`.
    """

    def __init__(self, message: str, kind: str, *, may_have_started: bool):
        super().__init__(message, may_have_started=may_have_started)
        self.kind = kind


def fault_kind(error: BaseException) -> str:
    """The class of a fault, one of `FAULTS`."""
    if isinstance(error, PoolFaultError):
        return error.kind
    if isinstance(error, SandboxUnavailableError):
        return "unavailable"
    if isinstance(error, SandboxError):
        return "may_have_started" if error.may_have_started else "not_started"
    return "bug"


@dataclass
class Counts:
    """Numbers of programs since the pool was made."""

    queued: int = 0
    """Programs that wait for a lease now."""
    running: int = 0
    """Programs that are with the backend now."""
    done: int = 0
    """Programs that ended as an `Execution`."""
    statuses: Counter[str] = field(default_factory=Counter)
    """`Execution.status` -> programs."""
    faults: Counter[str] = field(default_factory=Counter)
    """Class of fault -> programs."""
    retried: int = 0
    """Times that a program was given to the backend again."""
    cancelled: int = 0
    """Programs that their callers cancelled."""
    abandoned: int = 0
    """Cancelled calls that the backend did not end within `cancel_s`."""
    removals_failed: int = 0
    """Times that the backend could not remove what a program had left, as of the last `take_metrics`."""
    waited_s: float = 0.0
    """Sum of the seconds that programs have waited for leases."""
    waits: int = 0
    """Number of waits: one per try of a program."""
    longest_queue: int = 0
    """Most programs that waited at the same time since the metrics were last taken."""

    def count(self, result: Execution | BaseException) -> None:
        """Count how a program ended."""
        if isinstance(result, Execution):
            self.done += 1
            self.statuses[result.status] += 1
        else:
            self.faults[fault_kind(result)] += 1

    def line(self) -> str:
        """Text of the live line, such as `programs: 4 running, 60 queued, 31 done, 2 failed (timeout 1, fault outage 1)`."""
        failed = {name: number for name, number in self.statuses.items() if name != "ok" and number}
        failed |= {f"fault {name}": number for name, number in self.faults.items() if number}
        line = (
            f"programs: {self.running} running, {self.queued} queued, {self.done} done, {sum(failed.values())} failed"
        )
        if failed:
            line += " (" + ", ".join(f"{name} {number}" for name, number in sorted(failed.items())) + ")"
        line += f", {self.retried} retried" if self.retried else ""
        return line + (f", {self.removals_failed} removals failed" if self.removals_failed else "")


class Metrics:
    """Changes of `Counts` since the metrics were last taken. Every call returns the same names."""

    def __init__(self, counts: Counts):
        self._counts = counts
        self._before: Counter[str] = Counter()
        self._waited_s = 0.0

    def take(self) -> dict[str, float]:
        """Metric -> value since the last call."""
        counts = self._counts
        now: Counter[str] = Counter({"retried": counts.retried, "cancelled": counts.cancelled, "waits": counts.waits})
        now["abandoned"] = counts.abandoned
        now.update({f"fault/{name}": counts.faults[name] for name in FAULTS})
        now.update({f"status/{name}": counts.statuses[name] for name in get_args(ExecutionStatus)})
        new = {name: float(number - self._before[name]) for name, number in now.items()}
        waited_s, waits = counts.waited_s - self._waited_s, new.pop("waits")
        new |= {"queued_max": float(counts.longest_queue), "queue_s": waited_s / waits if waits else 0.0}
        self._before, self._waited_s, counts.longest_queue = now, counts.waited_s, counts.queued
        return {f"sandbox/{name}": value for name, value in new.items()}
