"""Two processes (gloo, DDP) go back together, whichever of them has the programs that broke."""

from __future__ import annotations

import pytest
import torch

from tests.support.launching import launch_well
from trl_mle.outcomes import read_rollouts

pytestmark = pytest.mark.slow


def test_both_processes_go_back_to_the_same_checkpoint(tmp_path):
    launch_well("tests.support.collapse_two_processes", str(tmp_path), ACCELERATE_USE_CPU="true")
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    for result in (first, second):
        assert result["step"] == 10
        assert result["rollbacks"] == 1
        assert result["rate"] == pytest.approx(3e-3)
        assert result["resumed"] == (1, pytest.approx(3e-3))
    assert all(torch.equal(value, second["model"][name]) for name, value in first["model"].items())
    assert "collapse/update_kl" in first["logged"][-1]
    # Those of the whole run were moved aside by the resume from checkpoint-4.
    rollouts = read_rollouts(tmp_path / "run")
    assert sorted(set(rollouts["step"])) == list(range(5))
    assert len(rollouts) == 5 * 8
