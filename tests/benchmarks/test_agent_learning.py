"""How `benchmarks/agent_learning.py` chooses the best of three programs, and what it counts of an agent's rollouts."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

from tests.support.rollouts import row, write_batch
from trl_mle.outcomes import Column, RunColumn, read_rollouts

_FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def bench():
    sys.path.insert(0, str(_FOLDER))
    try:
        yield importlib.import_module("agent_learning")
    finally:
        sys.path.remove(str(_FOLDER))


def printed(kind, score, own=None):
    """A program with a reward for its score, and the validation score that it printed (RMSE: lower is better)."""
    stdout = "" if own is None else f"hold-out score: {own}\n"
    reward = None if score is None else score
    return row(kind, reward, 1.0, 2.0) | {str(Column.STDOUT): stdout, str(Column.REWARD_SCORE): score}


def test_the_best_of_three_is_chosen_by_what_the_programs_print(bench, tmp_path):
    batch = [
        *(printed("valid", 0.1, 300.0), printed("valid", 0.9, 250.5), printed("valid", 0.5, 275.0)),
        *(printed("failure", None, 1.0), printed("valid", 0.2, 400.0), printed("failure", None)),
        *(printed("failure", None), printed("failure", None), printed("failure", None)),
        *(printed("valid", 0.3), printed("valid", 0.4, 1e9), printed("failure", None)),
        printed("valid", 1.0, 1.0),  # the rest of three
    ]
    write_batch(tmp_path, 0, batch)
    chosen = bench.best_of_three(read_rollouts(tmp_path))
    assert chosen[Column.REWARD_SCORE].dropna().tolist() == [0.9, 0.2, 0.4]
    assert bench.answers([chosen])["valid share"] == [0.75]


def test_figures_of_an_agent_leave_faults_out(bench, tmp_path):
    turns = json.dumps([{"kind": "failure", "reward": -9.0}, {"kind": "valid", "reward": 0.5}])
    rollout = printed("valid", 0.5) | {RunColumn.TURNS: turns, RunColumn.PROGRAMS_RUN: 2, RunColumn.SUBMITTED: True}
    fault = row("fault", None) | {RunColumn.TURNS: "[]", RunColumn.PROGRAMS_RUN: 1, RunColumn.SUBMITTED: False}
    for step in range(3):
        write_batch(tmp_path, step, [rollout, fault])
    found = bench.figures(tmp_path, "agent")
    assert found["programs"] == 6
    assert found["valid share"] == [1.0] * 3
    assert found["failures repaired"] == [1.0] * 3
    assert found["valid ones improved"] == [None] * 3
