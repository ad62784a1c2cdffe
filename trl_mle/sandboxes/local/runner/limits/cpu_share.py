"""A program's share of the processor: one that wants more than its threads keeps to its own cores, and takes no other's time.

The scheduler divides time among runnable threads (and, with autogroups, among sessions), so a program of sixty busy processes
would leave its neighbour a sixtieth. A program within its entitlement is never touched: its duration is its own.
"""

from __future__ import annotations

import math
import os
from contextlib import suppress

from .proc import Process, threads_of

_OVER, _CALM = 3, 25
"""Looks in a row with too many runnable threads before a program is confined, and without before it is free again."""
_MOST_NICE = 19
_WEIGHT = 1.25
"""A level of niceness divides a thread's share by this much (kernel/sched/core.c)."""


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
            self._set(processes, self._own, min(_MOST_NICE, math.ceil(math.log(runnable / self.threads, _WEIGHT))))
        elif self.confined and self._calm >= _CALM:
            self.confined = False
            self._set(processes, self._all, 0)

    def _set(self, processes: list[Process], cores: set[int], nice: int) -> None:
        for process in processes:
            for thread in threads_of(process.pid):
                # Gone meanwhile; or the priority cannot be raised again without privileges.
                with suppress(OSError):
                    os.sched_setaffinity(thread, cores)
                with suppress(OSError):
                    os.setpriority(os.PRIO_PROCESS, thread, nice)
            # Among sessions, the niceness of the group counts. The kernel takes it from the same user only now and then.
            with suppress(OSError), open(f"/proc/{process.pid}/autogroup", "w") as file:
                file.write(str(nice))


def _cores() -> set[int]:
    """The cores of this machine that this process may use; empty where there is no such call."""
    return set(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else set()
