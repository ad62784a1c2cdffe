"""A program's share of the processor: one that wants more than its threads keeps to its own cores, and takes no other's time.

The scheduler divides time among runnable threads (and, with autogroups, among sessions), so a program of sixty busy processes
would leave its neighbour a sixtieth. With as many workers as cores, each has cores of its own to keep to. A program within its
entitlement is never touched: its duration is its own.
"""

from __future__ import annotations

import os
from contextlib import suppress

from .proc import Process, threads_of

_OVER, _CALM = 3, 25
"""Looks in a row with too many runnable threads before a program is confined, and without before it is free again."""


class CpuShare:
    """Confines one program while it wants more of the processor than it is entitled to.

    Args:
        threads (`int`): runnable threads that the program is entitled to.
        number (`int`): number of the worker; neighbours get other cores.
    """

    def __init__(self, threads: int, number: int):
        self.threads = threads
        self.confined = False
        self._all = _cores()
        first = number * threads % max(1, len(self._all))
        cores = sorted(self._all)
        self._own = {cores[(first + place) % len(cores)] for place in range(min(threads, len(cores)))}
        self._over = self._calm = 0

    def look(self, processes: list[Process]) -> None:
        """Count the runnable threads of `processes`, and confine or free them."""
        runnable = sum(process.runnable for process in processes)
        if runnable > self.threads:
            self._over, self._calm = self._over + 1, 0
        else:
            self._over, self._calm = 0, self._calm + 1
        if self._over >= _OVER:
            self.confined = True
            # Again at each look: threads that started meanwhile inherit it, but one may have been made before.
            self._set(processes, self._own)
        elif self.confined and self._calm >= _CALM:
            self.confined = False
            self._set(processes, self._all)

    def _set(self, processes: list[Process], cores: set[int]) -> None:
        # No lower priority: a process without time keeps what it has locked, and the monitor would wait for its memory.
        for process in processes:
            for thread in threads_of(process.pid):
                with suppress(OSError):  # gone meanwhile
                    os.sched_setaffinity(thread, cores)


def _cores() -> set[int]:
    """The cores of this machine that this process may use; empty where there is no such call."""
    return set(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else set()
