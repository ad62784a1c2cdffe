"""`benchmarks/worst_case.py`: its texts reach the analysis, and whatever goes wrong with one is a fault."""

from __future__ import annotations

import importlib
import random
import sys
from pathlib import Path

import pytest

from tests.support.generated_completions import random_program, random_size
from tests.support.sandbox_doubles import Scripted
from trl_mle import ProgramScorer
from trl_mle.errors import SandboxError

_FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def bench():
    sys.path.insert(0, str(_FOLDER))
    try:
        yield importlib.import_module("worst_case")
    finally:
        sys.path.remove(str(_FOLDER))


def faults(found):
    return [(one.name, one.fault) for one in found if one.fault is not None]


def test_most_texts_reach_the_analysis_and_none_is_a_fault(bench):
    found = bench.measure_share((1, range(40)))
    assert faults(found) == []
    assert sum(one.fate in bench.ANALYSED for one in found) >= bench.LEAST_ANALYSED * len(found)
    assert sum(one.scored for one in found) == 2
    assert sum(row["random_texts"] for row in bench.tabulate(found, [])) == 40


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (KeyError("bug"), "instrumentation failed: KeyError"),
        (ValueError("bug"), "although Python parses it"),
        (None, "no number"),
    ],
)
def test_what_goes_wrong_is_a_fault(bench, monkeypatch, error, fault):
    def broken(*args):
        raise error or RuntimeError("no number")

    where = "trl_mle.instrumentation.ast_instrumenter.find_hazard" if error else "trl_mle.rewards.scorer.reward_parts"
    monkeypatch.setattr(where, broken)
    assert fault in faults(bench.measure_share((1, range(20, 22))))[0][1]


def test_a_text_without_a_reward_is_a_fault(bench, monkeypatch):
    monkeypatch.setattr(bench, "_scorer", lambda: ProgramScorer(Scripted(SandboxError("gone", may_have_started=True))))
    assert "the reward is None" in faults(bench.measure_share((1, range(20, 21))))[0][1]


def test_programs_are_spread_over_all_sizes_and_parse(bench):
    sources = [random.Random(number) for number in range(2000)]
    sizes = [random_size(source, 195_000) for source in sources]
    assert sum(200 <= size <= 3000 for size in sizes) > 0.9 * len(sizes)
    assert max(sizes) > 30_000
    programs = [random_program(source, size) for source, size in zip(sources[:100], sizes, strict=False)]
    assert sum(map(bench._parses, programs)) >= 97
