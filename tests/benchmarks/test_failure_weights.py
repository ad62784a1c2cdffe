"""What `benchmarks/failure_weights.py` says of programs that end too late."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

_FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def bench():
    sys.path.insert(0, str(_FOLDER))
    try:
        yield importlib.import_module("failure_weights")
    finally:
        sys.path.remove(str(_FOLDER))


@pytest.mark.parametrize("mode", ["none", "proportional"])
def test_a_failure_that_is_lost_is_cheaper_than_one_that_is_waited_for(bench, mode):
    lost, group_lost, waited = (bench.late_over_early(treatment, mode, 0) for treatment in bench.TREATMENTS)
    assert min(lost, group_lost) > 2
    assert waited < 1.5


def test_the_document_quotes_the_results():
    root = _FOLDER.parent
    text = (root / "docs/duration.md").read_text(encoding="utf-8")
    for row in json.loads((root / "docs/results/failure_weights.json").read_text())["late"]:
        cells = (f"{row[mode][0]:.2f} ({row[mode][1]:.2f})" for mode in ("none", "proportional"))
        assert f"| {row['treatment']} | {' | '.join(cells)} |" in text
