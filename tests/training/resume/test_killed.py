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

OTHER_IDS = ("parent_id",)
"""Columns of ids in a store that has been rewound."""
OF_THE_MOMENT = ("overlap/wait_s", "overlap/in_flight", "waited_s")
"""Of the waiting."""
SECONDS = (
    *("action_duration", "action_cpu_duration", "max_rss_bytes", "instrumented_program"),
    # An earlier program is shown with its seconds.
    "prompt",
)
"""Columns that real programs fill otherwise in every run."""


def exact(batches, ignored):
    """Rollouts without some columns, as text: NaN is equal to itself there."""
    return {
        file: {name: str(values) for name, values in columns.items() if name not in ignored}
        for file, columns in batches.items()
    }


def logged(folder, ignored):
    """Metrics of the steps, without some."""
    return [
        {name: value for name, value in line.items() if not name.startswith(ignored)} for line in metrics(folder)[:-1]
    ]


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
    is_real = scenario == "sandbox"
    ignored = (*OTHER_IDS, *OF_THE_MOMENT, *(SECONDS if is_real else ()))
    assert exact(rollouts(killed / "run"), ignored) == exact(rollouts(whole / "run"), ignored)
    ignored = (*OF_THE_MOMENT, *(("duration/", "programs/", "sandbox/") if is_real else ()))
    assert logged(killed / "run", ignored) == logged(whole / "run", ignored)
