"""What the limits monitor takes processes for, from what the kernel says about them."""

from __future__ import annotations

import mmap
import os
import socket

import pytest

from trl_mle.sandboxes.local.runner.limits import proc

MIB = 1 << 20


def process(
    rss_bytes: int, table_bytes: int = 0, away_bytes: int = 0, pid: int | None = None, shared_bytes: int = 0
) -> proc.Process:
    pid = os.getpid() if pid is None else pid
    return proc.Process(pid, 1, rss_bytes, table_bytes, away_bytes, 0.0, shared_bytes=shared_bytes)


def test_memory_that_is_not_resident_is_found():
    status = [
        b"Name:\tVmSwap\\n",
        b"VmRSS:\t 100 kB\n",
        b"VmPTE:\t  48 kB\n",
        b"VmSwap:\t 7 kB\n",
        b"HugetlbPages:\t 2048 kB\n",
        b"RssShmem:\t 12 kB\n",
    ]
    expected = {b"VmPTE": 48 << 10, b"VmSwap": 7 << 10, b"HugetlbPages": 2048 << 10, b"RssShmem": 12 << 10}
    assert proc.beside_resident(status) == expected
    assert set(proc.beside_resident([]).values()) == {0}


def test_swap_and_huge_pages_count():
    shares = proc.Shares(inherited_bytes=0, most_bytes=1)
    assert shares.total([process(100 * MIB, table_bytes=3, away_bytes=5)]) == 100 * MIB + 8


def test_what_was_read_last_counts_when_there_is_no_time_to_read(monkeypatch):
    """Children share the memory of their parent: with their own resident memory each would count in full."""
    shares = proc.Shares(inherited_bytes=10 * MIB, most_bytes=1 << 40)
    own = process(proc.resident_bytes(os.getpid()))
    read = shares.total([own])
    assert 0 < read < own.rss_bytes + MIB
    monkeypatch.setattr(proc, "_LONGEST_READ_S", -1.0)
    assert shares.total([own]) == read
    assert shares.total([process(own.rss_bytes + 5 * MIB)]) == read + 5 * MIB
    assert (
        shares.total([process(64 * MIB, pid=2**22)]) == 54 * MIB
    )  # never read: without what it has from the fork server


def known(monkeypatch, *shares: tuple[int, int]) -> tuple[proc.Shares, list[proc.Process]]:
    """Processes of 300 MiB each, with the given shares (of all memory, and of files in memory) when they are read."""
    processes = [
        process(300 * MIB, pid=2**22 + number, shared_bytes=of_files) for number, (_, of_files) in enumerate(shares)
    ]
    result = proc.Shares(inherited_bytes=0, most_bytes=1 << 40)

    def read(process: proc.Process) -> bool:
        result._known[process.pid] = (process.rss_bytes, *shares[process.pid - 2**22])
        return True

    monkeypatch.setattr(result, "_read", read)
    return result, processes


def test_mapped_files_in_memory_count_once(monkeypatch):
    """Their pages are resident memory of who maps them, and part of the size of the files."""
    shares, processes = known(monkeypatch, (250 * MIB, 200 * MIB))
    assert shares.total(processes, files_bytes=220 * MIB) == (50 + 220) * MIB
    shares, processes = known(monkeypatch, (150 * MIB, 100 * MIB), (150 * MIB, 100 * MIB))
    assert shares.total(processes, files_bytes=200 * MIB) == (50 + 50 + 200) * MIB


def test_what_is_mapped_of_other_files_hides_nothing(monkeypatch):
    """Those of `/tmp`, or public files that lie in memory: all that the program holds itself counts."""
    shares, processes = known(monkeypatch, (300 * MIB, 250 * MIB))
    assert shares.total(processes, files_bytes=40 * MIB) == 300 * MIB
    assert shares.total(processes, files_bytes=290 * MIB) == (50 + 290) * MIB


def test_what_is_mapped_no_more_hides_nothing(monkeypatch):
    """Other memory may be in its place when there is no time to read the shares again."""
    shares, processes = known(monkeypatch, (300 * MIB, 250 * MIB))
    shares.total(processes, files_bytes=250 * MIB)
    monkeypatch.setattr(proc, "_LONGEST_READ_S", -1.0)
    assert shares.total(processes, files_bytes=250 * MIB) == 300 * MIB
    assert shares.total([process(300 * MIB, pid=processes[0].pid)], files_bytes=250 * MIB) == (300 + 250) * MIB


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="this kernel tells no shares")
def test_the_share_of_files_in_memory_is_read(tmp_path):
    shares = proc.Shares(inherited_bytes=0, most_bytes=1 << 40)
    own = process(proc.resident_bytes(os.getpid()))
    shares.total([own])
    before = shares._known[own.pid][2]
    with mmap.mmap(-1, 4 * MIB) as shared:  # as a file in memory
        shared[:] = bytes(4 * MIB)
        shares.total([own])
        assert 4 * MIB <= shares._known[own.pid][2] - before < 5 * MIB
        assert proc._read(own.pid).shared_bytes >= 4 * MIB


@pytest.mark.parametrize("large", [{"rss_bytes": 301 * MIB}, {"rss_bytes": MIB, "table_bytes": 20 * MIB}])
def test_a_process_that_maps_its_pages_many_times_is_not_read(monkeypatch, large):
    """It would take seconds, at each look."""
    shares = proc.Shares(inherited_bytes=0, most_bytes=300 * MIB)
    monkeypatch.setattr(shares, "_read", lambda process: pytest.fail("the process was read"))
    assert shares.total([process(**large)]) == sum(large.values())


def test_a_process_whose_files_may_not_be_looked_at_is_found(monkeypatch):
    """As an ordinary user: one that executes a file which it may not read, but none that is ending."""

    def refuse(path: str) -> list[str]:
        raise PermissionError(13, "Permission denied", path)

    assert proc.open_files([process(0)]).hidden == 0
    monkeypatch.setattr(os, "listdir", refuse)
    assert proc.open_files([process(0), process(0, pid=2**22)]).hidden == 1


def test_buffers_of_open_sockets_and_pipes_count_once():
    own = [process(0), process(0)]
    before = proc.open_files(own).buffer_bytes
    ends, pipe = socket.socketpair(), os.pipe()
    try:
        assert proc.open_files(own).buffer_bytes == before + 2 * proc._SOCKET_BYTES + proc._PIPE_BYTES
    finally:
        for descriptor in (*(end.detach() for end in ends), *pipe):
            os.close(descriptor)
