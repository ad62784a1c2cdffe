"""What became of the programs of a pool, in numbers; and the one classification of faults that holds on every backend."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import get_args

from trl_mle.errors import SandboxError, SandboxUnavailableError
from trl_mle.types import Execution, ExecutionStatus

FAULTS = ("not_started", "may_have_started", "no_answer", "waited", "outage", "unavailable", "closed", "bug")
"""Classes of faults: the backend failed before the program can have started, or perhaps after; it did not answer in time;
the program waited too long for its place; the backend is down; it cannot work as configured; it was closed; an exception
that no sandbox should raise."""


class PoolFaultError(SandboxError):
    """A fault that the pool has found itself, of a class of its own. It is never retried.

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
    """Programs of a pool since it was made."""

    queued: int = 0
    """Waiting for a place now."""
    running: int = 0
    """With the backend now."""
    done: int = 0
    """Ended as an `Execution`."""
    statuses: Counter[str] = field(default_factory=Counter)
    """`Execution.status` -> programs."""
    faults: Counter[str] = field(default_factory=Counter)
    """Class of fault -> programs."""
    retried: int = 0
    """Times that a program was given to the backend again."""
    cancelled: int = 0
    abandoned: int = 0
    """Calls that the backend did not let go of when they were cancelled."""
    waited_s: float = 0.0
    """Seconds that programs have waited for their places, all together."""
    waits: int = 0
    """Times that programs have waited: the first try of a program and each further one."""
    longest_queue: int = 0
    """Most programs that waited at one time, since the last look at the metrics."""

    def count(self, result: Execution | BaseException) -> None:
        """Count how a program ended."""
        if isinstance(result, Execution):
            self.done += 1
            self.statuses[result.status] += 1
        else:
            self.faults[fault_kind(result)] += 1

    def line(self) -> str:
        """The live line, such as `programs: 4 running, 60 queued, 31 done, 2 failed (timeout 1, fault outage 1)`."""
        failed = {name: number for name, number in self.statuses.items() if name != "ok" and number}
        failed |= {f"fault {name}": number for name, number in self.faults.items() if number}
        words = (
            f"programs: {self.running} running, {self.queued} queued, {self.done} done, {sum(failed.values())} failed"
        )
        if failed:
            words += " (" + ", ".join(f"{name} {number}" for name, number in sorted(failed.items())) + ")"
        return words + (f", {self.retried} retried" if self.retried else "")


class Metrics:
    """What has changed in `Counts` since the last look, under names that are always the same."""

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
