"""Kaplan-Meier against a textbook, the empirical distribution and a simulation; the memory is bounded and resumes exactly."""

from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trl_mle.errors import DurationError
from trl_mle.training.weighting.survival import DurationMemory, kaplan_meier

observations = st.lists(st.tuples(st.integers(1, 12).map(float), st.booleans()), min_size=1, max_size=60)


def test_the_remission_times_of_the_textbooks():
    """6-MP arm of Freireich et al. 1963, the usual worked example: S(6) = .857, S(10) = .753, S(22) = .538, S(23) = .448."""
    ended = [6, 6, 6, 7, 10, 13, 16, 22, 23]
    censored = [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
    curve = kaplan_meier(
        torch.tensor([*ended, *censored], dtype=torch.float64),
        torch.tensor([True] * len(ended) + [False] * len(censored)),
    )
    survival = curve.after(torch.tensor([5.0, 6.0, 10.0, 22.0, 23.0], dtype=torch.float64))
    assert survival.tolist() == pytest.approx([1.0, 0.857, 0.753, 0.538, 0.448], abs=5e-4)
    assert curve.reaching(torch.tensor([6.0], dtype=torch.float64)).item() == 1.0


@given(st.lists(st.integers(1, 9).map(float), min_size=1, max_size=40))
def test_without_losses_it_is_the_empirical_distribution(values):
    seconds = torch.tensor(values, dtype=torch.float64)
    curve = kaplan_meier(seconds, torch.ones(len(values), dtype=torch.bool))
    for t in range(11):
        at = torch.tensor([float(t)], dtype=torch.float64)
        assert curve.after(at).item() == pytest.approx((seconds > t).double().mean().item())
        assert curve.reaching(at).item() == pytest.approx((seconds >= t).double().mean().item())


@given(observations)
def test_both_curves_together_make_up_what_was_seen(seen):
    """P(X > t) = P(D > t) P(C > t) holds exactly for the two product-limit estimates, where neither has run out."""
    memory = DurationMemory(100)
    memory.observe(torch.tensor([x for x, _ in seen]), torch.tensor([lost for _, lost in seen]))
    seconds = torch.tensor([x for x, _ in seen], dtype=torch.float64)
    both = memory.until_finished().after(seconds) * memory.until_lost().after(seconds)
    empirical = torch.tensor([(seconds > t).double().mean() for t in seconds], dtype=torch.float64)
    assert torch.allclose(both, empirical)


def test_the_curve_of_a_simulation_is_found_behind_losses():
    torch.manual_seed(0)
    needed = torch.distributions.Exponential(1.0).sample((20_000,)).double()
    available = torch.distributions.Exponential(0.7).sample((20_000,)).double()
    memory = DurationMemory(20_000)
    memory.observe(torch.minimum(needed, available), available < needed)
    at = torch.tensor([0.3, 1.0, 2.0], dtype=torch.float64)
    assert torch.allclose(memory.until_finished().after(at), (-at).exp(), atol=0.015)
    assert torch.allclose(memory.until_lost().after(at), (-0.7 * at).exp(), atol=0.015)


def test_the_memory_keeps_the_newest_and_resumes_exactly():
    memory = DurationMemory(3)
    memory.observe(torch.tensor([1.0, math.nan, 2.0]))
    memory.observe(torch.tensor([0.1, 4.0]), torch.tensor([True, False]))
    assert memory.state_dict() == {"seconds": [2.0, 0.1 + 1.4901161138336505e-09, 4.0], "lost": [False, True, False]}
    again = DurationMemory(3)
    again.load_state_dict(json.loads(json.dumps(memory.state_dict())))
    assert again.state_dict() == memory.state_dict()
    assert len(again) == 3
    with pytest.raises(DurationError, match=r"\(2,\).*\(3,\)"):
        memory.observe(torch.ones(2), torch.ones(3, dtype=torch.bool))
