"""The share of the processor: which programs keep to their own cores, and when they are free again."""

from __future__ import annotations

import os

import pytest

from trl_mle.sandboxes.local.runner.limits import cpu_share
from trl_mle.sandboxes.local.runner.limits.proc import Process
from trl_mle.sandboxes.local.slot import Slot

CORES = {0, 1, 2, 3, 8, 9, 10, 11}
MANY = cpu_share._OVER
CALM = cpu_share._CALM


def processes(*runnable: int) -> list[Process]:
    """Processes with so many runnable threads each; the numbers are 100, 200 and so on."""
    return [
        Process(100 * place, max(1, number), 0, 0, 0, 0.0, number) for place, number in enumerate(runnable, start=1)
    ]


@pytest.fixture
def placed(monkeypatch):
    """Thread -> the cores to which it was confined last. Each process has two threads; thread 201 is gone."""
    result: dict[int, set[int]] = {}

    def place(thread: int, cores: set[int]) -> None:
        if thread == 201:
            raise ProcessLookupError(thread)
        result[thread] = set(cores)

    monkeypatch.setattr(cpu_share, "_cores", lambda: set(CORES))
    monkeypatch.setattr(cpu_share, "threads_of", lambda pid: [pid, pid + 1])
    monkeypatch.setattr(os, "sched_setaffinity", place, raising=False)
    return result


def look(share: cpu_share.CpuShare, times: int, *runnable: int) -> None:
    for _ in range(times):
        share.look(processes(*runnable))


def test_a_program_within_its_entitlement_is_never_touched(placed):
    share = cpu_share.CpuShare(threads=2, number=0)
    look(share, 100, 1, 1)
    look(share, MANY - 1, 5, 5)  # for a moment
    look(share, 1, 2, 0)
    look(share, MANY - 1, 5, 5)
    assert (share.confined, placed) == (False, {})


def test_all_threads_keep_to_the_own_cores_until_it_is_calm(placed):
    share = cpu_share.CpuShare(threads=2, number=1)
    look(share, MANY, 2, 1)
    assert share.confined
    assert placed == {thread: {2, 3} for thread in (100, 101, 200)}
    look(share, 1, 2, 1, 1)  # one that has started meanwhile
    assert placed[300] == placed[301] == {2, 3}
    look(share, CALM - 1, 1, 1)
    look(share, 1, 9, 0)  # again too many: from the beginning
    look(share, CALM - 1, 1, 1)
    assert share.confined
    look(share, 1, 1, 1)
    assert not share.confined
    assert placed[100] == placed[200] == CORES


def test_ranks_have_cores_of_their_own(placed, monkeypatch):
    """Each process of a launch has slots from 0 on."""
    own: list[set[int]] = []
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    for rank in ("0", "1"):
        monkeypatch.setenv("LOCAL_RANK", rank)
        own += [cpu_share.CpuShare(2, Slot(number).number_on_machine)._own for number in range(2)]
    assert sum(map(len, own)) == len(set().union(*own)) == len(CORES)
    for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name)
    assert [Slot(number).number_on_machine for number in range(3)] == [0, 1, 2]


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_neighbours_have_cores_of_their_own_while_there_are_enough(placed, threads):
    own = [cpu_share.CpuShare(threads, number)._own for number in range(len(CORES) // threads)]
    assert sum(map(len, own)) == len(set().union(*own)) == threads * len(own)
    assert cpu_share.CpuShare(threads, 8)._own == own[0]


def test_an_entitlement_to_more_than_there_is_confines_to_all(placed):
    share = cpu_share.CpuShare(threads=64, number=3)
    look(share, MANY, 65)
    assert placed[100] == CORES
