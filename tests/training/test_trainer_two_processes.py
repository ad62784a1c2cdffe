"""The weights are over the global batch: checked with two real processes (gloo, DDP)."""

from __future__ import annotations

import pytest
import torch

from trl_mle import duration_weights
from trl_mle.training.weighting.inclusion import InclusionModel


@pytest.fixture(scope="module")
def seen_by_both(two_processes):
    """What each process saw in a scenario."""
    out = two_processes.folder / "weights_two_processes"
    return lambda scenario: [torch.load(out / f"{scenario}_{rank}.pt") for rank in range(2)]


def test_the_mean_is_over_both_processes(seen_by_both):
    results = seen_by_both("unequal")
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


def test_equal_durations_train_as_grpo_to_the_bit(seen_by_both):
    ours, theirs = seen_by_both("equal"), seen_by_both("plain")
    assert ours[0]["losses"] == theirs[0]["losses"]
    mine, other = ours[0]["model"], theirs[0]["model"]
    assert all(torch.equal(mine[name], other[name]) for name in other)


def test_an_error_of_one_process_reaches_both(seen_by_both):
    results = seen_by_both("short_on_one_rank")
    for result in results:
        assert "got 3 durations for 4 completions (process 1)" in result.get("error", "")


def test_what_one_process_loses_both_learn_of(seen_by_both):
    first, second = (result["seen"] for result in seen_by_both("lost"))
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
