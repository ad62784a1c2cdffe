"""The arithmetic of `benchmarks/sandbox.py`."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

_PATH = Path(__file__).parents[2] / "benchmarks/sandbox.py"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("benchmark_sandbox", _PATH)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_growth_lies_in_its_interval(benchmark):
    programs = list(range(0, 2000, 50))
    noise = np.random.default_rng(0).normal(0, 1000, len(programs))
    found = benchmark.slope(programs, [1e8 + 40 * x + e for x, e in zip(programs, noise, strict=True)])
    assert found["low"] < 40 < found["high"]
    assert found["high"] - found["low"] < 3
    assert benchmark.slope(programs, [7.0] * len(programs)) == {"per_program": 0.0, "low": 0.0, "high": 0.0}
    assert benchmark.slope([0, 1, 2], [0, 1, 2]) is None


def test_ratios_are_taken_within_a_round_and_verdicts_follow(benchmark):
    records = []
    for number, (cold, sandbox) in enumerate([(1.0, 13.0), (2.0, 28.0), (4.0, 60.0)]):
        own = {"cpu_s": [0.1], "wall_s": [0.11]}
        for way, rate, more in (("cold", cold, {}), ("sandbox", sandbox, own)):
            record = {"round": number, "program": "typical", "workers": 1, "way": way, "programs_per_s": rate}
            records.append({**record, "latency_s": [0.115], **more})
    cold, sandbox = benchmark.summarise_speed(records)
    assert cold["way"] == "cold" and "times_cold" not in cold
    assert sandbox["times_cold"] == {"median": 14.0, "q1": 13.5, "q3": 14.5}
    assert sandbox["over_cpu_s"]["median"] == pytest.approx(0.015)
    assert sandbox["over_wall_s"]["median"] == pytest.approx(0.005)
    assert [verdict["met"] for verdict in benchmark.judge([cold, sandbox], None)] == [True, True]
    sandbox["over_cpu_s"]["median"], sandbox["times_cold"]["median"] = 0.021, 11.9
    assert [verdict["met"] for verdict in benchmark.judge([cold, sandbox], None)] == [False, False]
