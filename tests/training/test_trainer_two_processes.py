"""The weights are over the global batch: checked with two real processes (gloo, DDP)."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from tests.support.launching import launch_well
from trl_mle import duration_weights
from trl_mle.training.weighting.inclusion import InclusionModel


def launch(out: Path, scenario: str) -> list[dict]:
    """Run `tests/support/two_processes.py` twice, as `torchrun` would, and return what each process saw."""
    launch_well("tests.support.two_processes", str(out), scenario, ACCELERATE_USE_CPU="true")
    return [json.loads((out / f"{scenario}_{rank}.json").read_text()) for rank in range(2)]


def test_the_mean_is_over_both_processes(tmp_path):
    results = launch(tmp_path, "unequal")
    assert [result["world"] for result in results] == [2, 2]
    first, second = (result["seen"] for result in results)
    assert first["durations"] == second["durations"]
    durations = torch.tensor(first["durations"], dtype=torch.float64)
    plain = torch.tensor(first["plain"], dtype=torch.float64)
    effective = torch.tensor(first["effective"] + second["effective"], dtype=torch.float64)
    assert durations.numel() == effective.numel() == 8
    # The two processes' own means differ, so a mean over one process could not pass.
    assert durations[4:].mean() > durations[:4].mean() + 1
    assert torch.allclose(effective, plain * durations / durations.mean(), atol=1e-6)


def test_equal_durations_train_as_grpo_to_the_bit(tmp_path):
    ours, theirs = launch(tmp_path, "equal"), launch(tmp_path, "plain")
    assert ours[0]["losses"] == theirs[0]["losses"]
    mine, other = torch.load(tmp_path / "equal_0.pt"), torch.load(tmp_path / "plain_0.pt")
    assert all(torch.equal(mine[name], other[name]) for name in other)


def test_an_error_of_one_process_reaches_both(tmp_path):
    results = launch(tmp_path, "short_on_one_rank")
    for result in results:
        assert "got 3 durations for 4 completions (process 1)" in result.get("error", "")


def test_what_one_process_loses_both_learn_of(tmp_path):
    first, second = (result["seen"] for result in launch(tmp_path, "lost"))
    assert first["memory"] == second["memory"]
    assert first["memory"]["lost"] == [False] * 4 + [True] + [False] * 7 + [True] + [False] * 3
    model = InclusionModel()
    model.memory.load_state_dict(first["memory"])
    weights = duration_weights(
        torch.tensor(first["durations"], dtype=torch.float64),
        "inverse_inclusion",
        inclusion=model.probability(torch.tensor(first["durations"], dtype=torch.float64)),
        mask=torch.tensor([True] * 4 + [False] + [True] * 3),
    )
    effective = torch.tensor(first["effective"] + second["effective"], dtype=torch.float64)
    assert torch.allclose(effective, torch.tensor(first["plain"], dtype=torch.float64) * weights, atol=1e-6)
