"""The processes of one program, read from `/proc`. On systems without `/proc` no process is found."""

from __future__ import annotations

import os
import signal
import stat
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

_BETWEEN_LOOKS_S = 0.001
_LONGEST_READ_S = 0.25
_SPARE_TABLE_BYTES = 16 * 1024**2
MOST_WATCHES = 50_000
"""Descriptors that all processes of a program may watch by `epoll`. All processes of a user share some millions."""
_EPOLL = "anon_inode:[eventpoll]"
_SOCKET_BYTES, _PIPE_BYTES = 2 * 212992, 1 << 16
"""What the kernel lets a socket send before somebody reads it (twice `net.core.wmem_default`), and the size of a pipe."""
_PSS = (b"Pss", b"Pss_Shmem")
"""A process's share of the pages that it maps, and that of pages of files in memory (Linux 5.4 or newer)."""
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
# A process may end between two reads, or belong to another user after its number was used again.
_GONE = (FileNotFoundError, ProcessLookupError, PermissionError)


@dataclass(frozen=True)
class Process:
    pid: int
    threads: int
    rss_bytes: int
    table_bytes: int
    """Size of the kernel's page tables of the process. They are not part of its resident memory."""
    away_bytes: int
    """Memory that is in swap or in huge pages of the machine's pool. It is not part of the resident memory either."""
    cpu_s: float
    """User and system seconds of the process itself."""
    runnable: int = 0
    """Threads that run or wait for a core."""
    shared_bytes: int = 0
    """The part of the resident memory that maps files in memory."""
    reader: int = 0
    """The thread through which the process's memory and files are read: its first one, if that has not ended."""


def descendants(roots: Iterable[int], most_threads: int | None = None) -> list[Process]:
    """All processes below `roots`, without `roots`. The search ends once they have more than `most_threads` threads."""
    processes: list[Process] = []
    threads = 0
    pending = deque(pid for root in roots for pid in _children(root))
    while pending and (most_threads is None or threads <= most_threads):
        pid = pending.popleft()
        with suppress(*_GONE):
            processes.append(_read(pid))
            threads += processes[-1].threads
            pending += _children(pid)
    return processes


def _read(pid: int) -> Process:
    state, fields = _stat(f"/proc/{pid}")
    threads, pages, reader = int(fields[16]), int(fields[20]), pid
    runnable = int(state == b"R")
    if threads > 1:
        others = [thread for thread in threads_of(pid) if thread != pid]
        for thread in others:
            with suppress(*_GONE):
                runnable += _stat(f"/proc/{pid}/task/{thread}")[0] == b"R"
        # Once the first thread has ended, the kernel says 0 bytes for the process, whatever its other threads hold.
        if state == b"Z" and others:
            reader = others[0]
            pages = resident_bytes(reader) // _PAGE
    with open(f"/proc/{reader}/status", "rb") as file:
        beyond = beside_resident(file)
    return Process(
        pid,
        threads=threads,
        rss_bytes=pages * _PAGE,
        table_bytes=beyond[b"VmPTE"],
        away_bytes=beyond[b"VmSwap"] + beyond[b"HugetlbPages"],
        cpu_s=(int(fields[10]) + int(fields[11])) / _TICKS,
        runnable=runnable,
        shared_bytes=beyond[b"RssShmem"],
        reader=reader,
    )


def beside_resident(status: Iterable[bytes]) -> dict[bytes, int]:
    """What a process holds beside its resident memory, and what it maps of files in memory (a part of that).

    From the lines of `/proc/<pid>/status`: name -> bytes.
    """
    found = dict.fromkeys((b"VmPTE", b"VmSwap", b"HugetlbPages", b"RssShmem"), 0)
    for line in status:
        name, _, rest = line.partition(b":")
        if name in found:
            found[name] = int(rest.split()[0]) * 1024
    return found


def _stat(folder: str) -> tuple[bytes, list[bytes]]:
    """State of a process or thread, and the fields of its `stat` after that."""
    with open(f"{folder}/stat", "rb") as file:
        state, *fields = file.read().rpartition(b")")[2].split()
    return state, fields


def threads_of(pid: int) -> list[int]:
    """Numbers of the threads of a process; empty if it has ended."""
    with suppress(*_GONE):
        return [int(name) for name in os.listdir(f"/proc/{pid}/task")]
    return []


def _children(pid: int) -> Iterator[int]:
    with suppress(*_GONE):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(*_GONE), open(f"/proc/{pid}/task/{thread}/children") as file:
                yield from map(int, file.read().split())


def resident_bytes(pid: int) -> int:
    """Resident memory of one process in bytes; 0 if it is not known."""
    with suppress(*_GONE), open(f"/proc/{pid}/statm", "rb") as file:
        return int(file.read().split()[1]) * _PAGE
    return 0


class Shares:
    """Resident memory of the processes of one program, in which a page that several of them share counts once.

    Reading the shares of a process waits while it forks, and takes time with the number of its pages. After `_LONGEST_READ_S`
    seconds the remaining processes count with what was read last; those that were read longest ago come first.

    Args:
        inherited_bytes (`int`): the memory that each process has from the fork server.
        most_bytes (`int`): limit of all processes together. A process that has more by itself, or page tables for much more, is
            too large or maps the same pages many times over: it is not read, and counts with its own resident memory.
    """

    def __init__(self, inherited_bytes: int, most_bytes: int):
        self._inherited_bytes = inherited_bytes
        self._most_bytes = inherited_bytes + most_bytes
        # Dense memory takes 1/512 of its size in page tables.
        self._most_table_bytes = most_bytes // 256 + _SPARE_TABLE_BYTES
        self._known: dict[int, tuple[int, int, int]] = {}
        """Process -> its resident memory when it was read, its share then, and the part of files in memory; the latest last."""

    def total(self, processes: list[Process], files_bytes: int = 0) -> int:
        """Memory of all `processes` and of their files together in bytes, with page tables and what is away.

        Args:
            files_bytes (`int`): size of the program's files in memory. What is mapped of them is resident, too, and counts once.
        """
        # Whatever the processes map, the result is no less than their other memory and `files_bytes`: the larger of the files
        # and of what is mapped counts.
        total = mapped = 0
        alive = {process.pid for process in processes}
        order = {pid: place for place, pid in enumerate(self._known)}
        self._known = {pid: known for pid, known in self._known.items() if pid in alive}
        deadline = time.monotonic() + _LONGEST_READ_S
        for process in sorted(processes, key=lambda process: order.get(process.pid, -1)):
            is_plain = process.rss_bytes <= self._most_bytes and process.table_bytes <= self._most_table_bytes
            is_read = is_plain and time.monotonic() < deadline and self._read(process)
            if not is_plain:
                self._known.pop(process.pid, None)
            before, share, of_files = self._known.get(process.pid, (self._inherited_bytes, 0, 0))
            total += share + max(0, process.rss_bytes - before) + process.table_bytes + process.away_bytes
            # What was mapped when it was read last may be unmapped by now, and other memory in its place.
            mapped += of_files if is_read else min(of_files, process.shared_bytes)
        return total + max(0, files_bytes - mapped)

    def _read(self, process: Process) -> bool:
        """Read the shares of `process`, and return whether that was possible."""
        with suppress(*_GONE), open(f"/proc/{process.reader or process.pid}/smaps_rollup", "rb") as file:
            # Both from one look at the process, which could map its files between two.
            found = {
                name: int(rest.split()[0]) * 1024
                for name, _, rest in (line.partition(b":") for line in file)
                if name in _PSS
            }
            if _PSS[0] in found:
                self._known.pop(process.pid, None)
                self._known[process.pid] = (process.rss_bytes, found[_PSS[0]], found.get(_PSS[1], 0))
                return True
        return False


@dataclass(frozen=True)
class OpenFiles:
    """What the descriptors of several processes hold beside files that have a name."""

    unnamed_bytes: int
    """Bytes on disk of files without a name."""
    buffer_bytes: int
    """Most bytes that can wait in their pipes and sockets, which is nobody's resident memory."""
    watches: int
    """Descriptors that they watch by `epoll`. Counting stops past `MOST_WATCHES`."""
    hidden: int
    """Processes whose descriptors may not be looked at."""


def open_files(processes: list[Process]) -> OpenFiles:
    """What the descriptors of `processes` hold."""
    sizes: dict[tuple[int, int], int] = {}
    buffers: dict[tuple[int, int], int] = {}
    watches = hidden = 0
    for process in processes:
        reader = process.reader or process.pid
        folder = f"/proc/{reader}/fd"
        try:
            descriptors = os.listdir(folder)
        except PermissionError:
            # A process that ends has no memory any more, and nobody but root may look at it then.
            hidden += resident_bytes(reader) > 0
        except _GONE:
            pass
        else:
            for descriptor in descriptors:
                with suppress(*_GONE):
                    status = os.stat(f"{folder}/{descriptor}")
                    # By file, not by descriptor: several processes may have the same file open.
                    file = status.st_dev, status.st_ino
                    if stat.S_ISREG(status.st_mode) and status.st_nlink == 0:
                        sizes[file] = status.st_blocks * 512
                    elif stat.S_ISSOCK(status.st_mode):
                        buffers[file] = _SOCKET_BYTES
                    elif stat.S_ISFIFO(status.st_mode):
                        buffers[file] = _PIPE_BYTES
                    elif not stat.S_IFMT(status.st_mode) and os.readlink(f"{folder}/{descriptor}") == _EPOLL:
                        watches += _watches(f"{folder}info/{descriptor}", MOST_WATCHES + 1 - watches)
    return OpenFiles(sum(sizes.values()), sum(buffers.values()), watches, hidden)


def _watches(path: str, most: int) -> int:
    with open(path, "rb") as file:
        return sum(1 for _ in islice((line for line in file if line.startswith(b"tfd:")), most))


def kill_tree(root: int) -> None:
    """Kill all processes below `root` and `root` itself, from outside. Repeats until no new process appears."""
    killed: set[int] = set()
    while pids := [process.pid for process in descendants((root,)) if process.pid not in killed]:
        for pid in pids:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
            killed.add(pid)
        time.sleep(_BETWEEN_LOOKS_S)
    with suppress(ProcessLookupError):
        os.kill(root, signal.SIGKILL)


def kill_descendants(most_s: float | None = None) -> None:
    """Kill and reap all processes below this one until none is left, or for `most_s` seconds. This process must adopt orphans.

    Processes are stopped from the top down, each before its children are listed: a stopped process starts no other.
    """
    deadline = None if most_s is None else time.monotonic() + most_s
    while deadline is None or time.monotonic() < deadline:
        alive: list[int] = []
        pending = deque(_children(os.getpid()))
        while pending:
            pid = pending.popleft()
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                alive.append(pid)
                pending += _children(pid)
        for pid in alive:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        # A killed process stays a zombie, which is listed as a child, until it is reaped.
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        if not alive:
            return
        time.sleep(_BETWEEN_LOOKS_S)
