"""A run that is killed five times, and resumed by the same command each time, is the run that was not: one and two processes."""

from __future__ import annotations

import random

import pytest
import torch

from tests.support.killed_run import PLACES, SETTINGS, STEPS
from tests.support.launching import launch
from tests.training.resume.test_micro_steps import metrics, rollouts

KILLS = 5


def run(folder, scenario, processes, *death):
    return launch(
        "tests.support.killed_run",
        folder,
        scenario,
        *death,
        processes_count=processes,
        timeout_s=280,
        ACCELERATE_USE_CPU="true",
    )


def deaths(seed):
    """Places and numbers: within three steps, so that the run is killed before it ends."""
    draw = random.Random(seed)
    numbers = {"reward": 1, "micro_step": 3, "step": 3, "open": 20}
    for _ in range(KILLS):
        place = draw.choice(PLACES)
        yield place, draw.randint(1, numbers[place]), draw.randrange(2)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("scenario", SETTINGS)
def test_a_killed_run_continues_as_the_uninterrupted_one(tmp_path, scenario, processes):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert [status for status, _, _ in run(whole, scenario, processes)] == [0] * processes
    died = 0
    for place, number, rank in deaths(f"{scenario} {processes}"):
        ends = run(killed, scenario, processes, place, number, rank % processes)
        died += any(status == -9 for status, _, _ in ends)
    assert died >= 4, "a place may be past the end of the run"
    ends = run(killed, scenario, processes)
    assert [status for status, _, _ in ends] == [0] * processes, ends[0][1][-2000:]
    for rank in range(processes):
        final, expected = (torch.load(folder / f"final_{rank}.pt") for folder in (killed, whole))
        assert all(torch.equal(final[name], value) for name, value in expected.items())
    assert rollouts(killed / "run") == rollouts(whole / "run")
    assert metrics(killed / "run")[:-1] == metrics(whole / "run")[:-1]
    assert {line["step"] for line in metrics(killed / "run")} <= set(range(STEPS + 1))
