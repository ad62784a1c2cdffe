"""A run that is killed five times, and resumed by the same command each time, is the run that was not: one and two processes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from tests.support.killed_run import KILLS
from tests.support.launching import ROOT
from tests.training.resume.test_micro_steps import metrics, rollouts


def exact(batches):
    """Rollouts without what no two runs have in common: seconds, and the ids of a store that has been rewound."""
    return {
        name: {
            column: str(values)
            for column, values in columns.items()
            if column not in ("parent_id", "waited_s") and not column.endswith(("_s", "nonce"))
        }
        for name, columns in batches.items()
    }


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("scenario", "processes"),
    [("within_generations", 1), ("within_generations", 2), ("overlap", 1), ("overlap", 2), ("sandbox", 1)],
)
def test_a_killed_run_continues_as_the_uninterrupted_one(tmp_path, scenario, processes):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    command = [sys.executable, "-m", "tests.support.killed_run", str(tmp_path), scenario, str(processes)]
    subprocess.run(command, cwd=ROOT, check=True)
    first, *kills, last = json.loads((tmp_path / "ends.json").read_text())
    logs = "".join(path.read_text(errors="replace")[-1000:] for path in sorted(killed.glob("log_*")))
    assert (first, last) == ([0] * processes, [0] * processes), logs
    assert [-9 in statuses for statuses in kills] == [True] * KILLS, logs
    for rank in range(processes):
        final, expected = (torch.load(folder / f"final_{rank}.pt") for folder in (killed, whole))
        assert all(torch.equal(final[name], value) for name, value in expected.items())
    assert exact(rollouts(killed / "run")) == exact(rollouts(whole / "run"))
    assert metrics(killed / "run")[:-1] == metrics(whole / "run")[:-1]
