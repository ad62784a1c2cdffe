"""The arithmetic of `benchmarks/ray_sandbox.py`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

pytest.importorskip("ray")

_FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def benchmark():
    sys.path.insert(0, str(_FOLDER))
    try:
        yield importlib.import_module("ray_sandbox")
    finally:
        sys.path.remove(str(_FOLDER))


def test_verdicts_follow_from_the_numbers(benchmark):
    result = {
        "speed": {"ratio": {"median": 0.9}},
        "chaos": {
            "programs": 10,
            "results": {"ok": 9, "may_have_started": 1},
            "sent_twice_although_they_may_have_started": 0,
        },
        "pool": {"growth_bytes": 2**20, "cancel_s": 1.5},
    }
    assert [one["met"] for one in benchmark.judge(result)] == [True] * 5
    result["speed"]["ratio"]["median"] = 0.84
    result["chaos"] |= {"results": {"ok": 9}, "sent_twice_although_they_may_have_started": 1}
    result["pool"] = {"growth_bytes": 2**25, "cancel_s": 2.5}
    assert [one["met"] for one in benchmark.judge(result)] == [False] * 5
