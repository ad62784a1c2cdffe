"""The limits monitor: it looks at a running program at short intervals and says which limit the program has passed."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ..protocol import ProgramLimits, Status
from .cpu_share import CpuShare
from .proc import MOST_WATCHES, Process, Shares, descendants, open_files, resident_bytes
from .workdir import MOST_ENTRIES, WorkFolder, free_space, most_depth, usage, used_bytes

_SHORTEST_S, _LONGEST_S = 0.02, 0.1
_DISK_S, _LONGEST_DISK_S = 0.25, 5.0
_FREE_BUFFER_BYTES = 64 * 1024**2
"""What may wait in pipes and sockets without being counted as memory."""
_SHARE = 20
"""After a look, the monitor pauses for at least this many times the CPU time of the look."""


@dataclass(frozen=True)
class LimitPassed:
    """A limit that a program has passed."""

    status: Status
    """The status of the execution."""
    reason: str


class LimitsMonitor:
    """What the processes of a program use, against the limits.

    Args:
        work (`WorkFolder`): the program's folder.
        limits (`ProgramLimits`): those of the program.
        fork_server_pid (`int`): the process that forks the program and has no other children.
        init_pid (`int`, *optional*): the process that inherits the orphans, if it is another one.
        number (`int`, *optional*): number of the worker; its neighbours keep to other cores.
    """

    def __init__(
        self, work: WorkFolder, limits: ProgramLimits, fork_server_pid: int, init_pid: int | None, number: int = 0
    ):
        self.work = work
        self.limits = limits
        self.peak_bytes = 0
        self._seconds: dict[int, float] = {}
        self._roots = [pid for pid in (fork_server_pid, init_pid) if pid is not None]
        self._shares = Shares(resident_bytes(fork_server_pid), limits.memory_bytes)
        self._buffer_bytes = 0
        """What may wait in pipes and sockets, at the last look at the open files."""
        self._hidden = False
        """Whether a process was hidden then."""
        self._share = CpuShare(limits.threads, number)
        self._next = self._next_disk = self._soonest_disk = 0.0
        self._free = free_space(work.descriptor)
        """Free space of the file system at the last look at the folder, in bytes and in files."""

    @property
    def cpu_s(self) -> float:
        """User and system seconds of all processes that were seen, also of those that no parent has waited for."""
        return sum(self._seconds.values())

    def pause_s(self) -> float:
        """Seconds until the next look is due."""
        return max(0.0, self._next - time.monotonic())

    def check(self) -> LimitPassed | None:
        """The limit that the program has passed, if any. Looks at most once per interval."""
        now = time.monotonic()
        if now < self._next:
            return None
        spent = time.process_time()
        # Counted first, and no further than needed: reading the memory of a process that forks waits for the fork.
        processes = descendants(self._roots, self.limits.processes)
        for process in processes:
            self._seconds[process.pid] = max(process.cpu_s, self._seconds.get(process.pid, 0.0))
        self._share.look(processes)
        passed = self._processes(processes) or self._memory(processes)
        # A look must not take a large share of the core that the program runs on.
        self._next = self._after(spent, _SHORTEST_S, _LONGEST_S)
        if passed is None and (now >= self._next_disk or self._fills_up(now)):
            spent = time.process_time()
            passed = self._disk(processes)
            self._free = free_space(self.work.descriptor)
            self._soonest_disk = time.monotonic() + _DISK_S
            self._next_disk = self._after(spent, _DISK_S, _LONGEST_DISK_S)
        return passed

    def _fills_up(self, now: float) -> bool:
        """Whether the disk fills fast, by this program or another one. A folder of many files is looked at seldom otherwise."""
        if self.work.path is None or now < self._soonest_disk:
            return False
        taken, files = (before - now for before, now in zip(self._free, free_space(self.work.descriptor), strict=True))
        return taken > self.limits.work_bytes // 8 or files > MOST_ENTRIES // 8

    def _after(self, spent: float, shortest: float, longest: float) -> float:
        """When to look again after a look that began at `spent` CPU seconds: time spent waiting is no reason to wait."""
        pause = _SHARE * (time.process_time() - spent)
        return time.monotonic() + min(max(shortest, pause), longest)

    def _memory(self, processes: list[Process]) -> LimitPassed | None:
        limit = self.limits.memory_bytes
        buffers = max(0, self._buffer_bytes - _FREE_BUFFER_BYTES)
        # Files in memory are memory, whether they are mapped or not.
        files = used_bytes(self.work.descriptor) if self.work.path is None else 0
        used = (
            sum(process.rss_bytes + process.table_bytes + process.away_bytes for process in processes)
            + files
            + buffers
        )
        if used > limit:  # children share pages with their parent, and mapped files are resident: read the shares
            used = self._shares.total(processes, files) + buffers
        self.peak_bytes = max(self.peak_bytes, used)
        message = f"memory of {used} bytes, files in memory and buffers of pipes and sockets included, passed the limit of {limit}"
        return LimitPassed("memory", message) if used > limit else None

    def _processes(self, processes: list[Process]) -> LimitPassed | None:
        limit = self.limits.processes
        number = sum(process.threads for process in processes)
        message = f"more than {limit} processes and threads were alive at once"
        return LimitPassed("killed", message) if number > limit else None

    def _disk(self, processes: list[Process]) -> LimitPassed | None:
        limit = self.limits.work_bytes
        # A deleted file that is still open has no entry in the folder but takes its space.
        opened = open_files(processes)
        size, self._buffer_bytes = opened.unnamed_bytes, opened.buffer_bytes
        # Twice in a row: it executes a file that it may not read, which honest programs do for a moment at most.
        was_hidden, self._hidden = self._hidden, opened.hidden > 0
        if was_hidden and self._hidden:
            return LimitPassed("killed", "the open files of a process could not be looked at")
        if opened.watches > MOST_WATCHES:
            return LimitPassed("killed", f"more than {MOST_WATCHES} descriptors were watched by epoll")
        if self.work.path is not None:  # a file system in memory holds no more by itself
            on_disk, entries = usage(self.work.path)
            size += on_disk
            if entries > MOST_ENTRIES:
                return LimitPassed(
                    "output",
                    f"more than {MOST_ENTRIES} files and folders were written, or folders more than {most_depth()} deep",
                )
        message = f"files of {size} bytes passed the limit of {limit}"
        return LimitPassed("output", message) if size > limit else None
