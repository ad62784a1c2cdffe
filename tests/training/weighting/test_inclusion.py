"""Rules of collection against simulations of them, and weights from their probabilities."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trl_mle import duration_weights
from trl_mle.errors import ConfigError, DurationError
from trl_mle.training.weighting.inclusion import (
    FirstOf,
    InclusionModel,
    Measured,
    Staleness,
    TimeOut,
    Window,
    parse_rule,
)
from trl_mle.training.weighting.survival import DurationMemory, Survival, kaplan_meier

RULES = ("measured", "timeout:30", "timeout:30/0.5", "window:60", "window:60/even", "first:6/8", "staleness:2/20/4")
seconds = st.lists(st.floats(0.01, 1e3), min_size=2, max_size=40)
probabilities = st.lists(st.floats(0, 1), min_size=1, max_size=40)


def f64(values):
    return torch.as_tensor(values, dtype=torch.float64)


def empirical(values) -> Survival:
    return kaplan_meier(f64(values), torch.ones(len(values), dtype=torch.bool))


# Rules


def test_time_out():
    assert TimeOut(10.0).probability(f64([1.0, 10.0, 10.1])).tolist() == [1.0, 1.0, 0.0]
    probability = TimeOut(10.0, 0.5).probability(f64([10.0, 10.0 * math.exp(0.5), 1e-3]))
    assert probability.tolist() == pytest.approx([0.5, 0.158655, 1.0], abs=1e-5)
    torch.manual_seed(0)
    wall = 7.0 * torch.exp(0.5 * torch.randn(200_000))
    assert TimeOut(10.0, 0.5).probability(f64([7.0])).item() == pytest.approx(
        (wall <= 10).double().mean().item(), abs=0.005
    )


def test_an_even_window_is_linear():
    assert Window(10.0).probability(f64([0.0, 2.5, 10.0, 11.0])).tolist() == [1.0, 0.75, 0.0, 0.0]


def test_a_window_that_all_start_together_has_renewals():
    """Exponential durations: U(t) = 1 + t / mean. One duration: starts at 0, d, 2d ..."""
    grid = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    rule = Window(10.0, empirical(-2.0 * torch.log1p(-grid)))
    left = f64([9.0, 5.0, 1.0])
    assert torch.allclose(rule.probability(10.0 - left), (1 + left / 2) / (1 + 10 / 2), atol=0.01)
    assert rule.probability(f64([10.5])).item() == 0.0
    assert Window(10.0, empirical([3.0])).probability(f64([3.0])).item() == pytest.approx(3 / 4, abs=0.05)


def test_first_of_n_without_ties_is_the_binomial():
    n, b, q = 12, 9, 0.6
    rule = FirstOf(b, n, Survival(f64([1.0, 3.0]), f64([1 - q, 0.0])))
    expected = sum(math.comb(n - 1, k) * q**k * (1 - q) ** (n - 1 - k) for k in range(b))
    assert rule.probability(f64([2.0])).item() == pytest.approx(expected)


def test_first_of_n_with_ties_shares_the_places_at_random():
    assert FirstOf(3, 8, empirical([5.0])).probability(f64([5.0])).item() == pytest.approx(3 / 8)
    torch.manual_seed(0)
    durations = f64([1.0, 5.0, 50.0])[torch.multinomial(f64([0.5, 0.3, 0.2]), 8 * 50_000, replacement=True)]
    durations = durations.reshape(-1, 8) * (1 + 1e-6 * torch.rand(50_000, 8))
    included = torch.zeros_like(durations, dtype=torch.bool).scatter_(1, durations.argsort(1)[:, :6], True)
    rule = FirstOf(6, 8, empirical([1.0] * 50 + [5.0] * 30 + [50.0] * 20))
    for value in (1.0, 5.0, 50.0):
        expected = included[(durations - value).abs() < 0.01].double().mean().item()
        assert rule.probability(f64([value])).item() == pytest.approx(expected, abs=0.01)


def test_staleness_with_regular_and_irregular_updates():
    assert Staleness(2, 10.0).probability(f64([1.0, 20.0, 25.0, 30.0])).tolist() == [1.0, 1.0, 0.5, 0.0]
    almost = Staleness(2, 10.0, 1e-6).probability(f64([25.0])).item()
    assert almost == pytest.approx(0.5, abs=0.01)
    torch.manual_seed(0)
    intervals = 10.0 + 2.0 * torch.randn(200_000, 3)
    available = intervals[:, 0] * torch.rand(200_000) + intervals[:, 1:].sum(1)
    rule = Staleness(2, 10.0, 2.0)
    for d in (18.0, 25.0, 31.0):
        expected = (available >= d).double().mean().item()
        assert rule.probability(f64([d])).item() == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize("rule", RULES)
@given(durations=seconds, lost=st.lists(st.booleans(), min_size=40, max_size=40))
def test_probabilities_fall_with_duration(rule, durations, lost):
    model = InclusionModel(rule, memory=64)
    model.observe(f64(durations), torch.tensor(lost[: len(durations)]))
    probability = model.probability(f64(durations).sort().values)
    assert ((probability >= 0) & (probability <= 1)).all()
    assert (probability.diff() <= 1e-9).all()


def test_measured_needs_no_rule():
    """Durations 1, 2, 3 with equal chances; half of all samples are lost after 1.5 s, the others never."""
    torch.manual_seed(0)
    needed = torch.randint(1, 4, (20_000,)).double()
    available = torch.where(torch.rand(20_000) < 0.5, 1.5, math.inf).double()
    model = InclusionModel("measured", memory=20_000)
    model.observe(torch.minimum(needed, available), available < needed)
    assert model.probability(f64([1.0, 2.0, 3.0])).tolist() == pytest.approx([1.0, 0.5, 0.5], abs=0.01)


def test_nothing_lost_or_nothing_seen_is_certain_to_be_included():
    model = InclusionModel("measured")
    assert model.probability(f64([1.0, 100.0])).tolist() == [1.0, 1.0]
    model.observe(f64([1.0, 100.0, 5.0]))
    assert model.probability(f64([1.0, 100.0, math.nan])).tolist() == [1.0, 1.0, 1.0]


def test_a_program_stopped_at_the_limit_and_scored_was_included():
    assert InclusionModel("timeout:10").probability(f64([10.2, math.nan])).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    "text",
    ["", "often", "measured:1", "timeout", "timeout:-1", "timeout:5/-1", "timeout:nan", "window:0", "window:5/odd", "first:9/8",
     "first:0/8", "first:8", "first:a/b", "staleness:2", "staleness:-1/5", "staleness:2/0", "staleness:2/5/-1"],
)  # fmt: skip
def test_impossible_rules_are_named(text):
    with pytest.raises(ConfigError, match=r"duration_rule.*measured.*first:96/128"):
        parse_rule(text)


def test_rules_are_read():
    memory = DurationMemory(4)
    memory.observe(f64([1.0, 2.0]))
    made = [parse_rule(rule)(memory) for rule in RULES]
    assert [type(rule) for rule in made] == [Measured, TimeOut, TimeOut, Window, Window, FirstOf, Staleness]
    assert made[2] == TimeOut(30.0, 0.5)
    assert made[4] == Window(60.0, None)
    assert made[6] == Staleness(2, 20.0, 4.0)


# Weights


@given(probabilities, st.one_of(st.none(), st.floats(1.0, 50.0)), st.floats(0.0, 2.0))
def test_weights_have_mean_one_are_positive_and_bounded(values, clip, exponent):
    inclusion = f64(values)
    weights = duration_weights(
        torch.ones(len(values)), "inverse_inclusion", clip=clip, exponent=exponent, inclusion=inclusion
    )
    assert weights.mean().item() == pytest.approx(1.0)
    assert (weights > 0).all()
    assert weights.max() / weights.min() <= 50.0**exponent * (1 + 1e-9)
    if clip is not None:
        assert weights.max() <= clip * (1 + 1e-12)
    assert (weights[inclusion.argsort(stable=True)].diff() <= 1e-12).all()


@given(probabilities, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(values, random):
    order = list(range(len(values)))
    random.shuffle(order)
    ones, inclusion = torch.ones(len(values)), f64(values)
    weights = duration_weights(ones, "inverse_inclusion", inclusion=inclusion)
    assert torch.allclose(duration_weights(ones, "inverse_inclusion", inclusion=inclusion[order]), weights[order])


@given(st.floats(0, 1), st.integers(1, 200), st.floats(0.0, 3.0))
def test_equal_probabilities_weigh_exactly_one(value, rows, exponent):
    weights = duration_weights(
        torch.rand(rows), "inverse_inclusion", inclusion=torch.full((rows,), value), exponent=exponent
    )
    assert torch.equal(weights, torch.ones(rows, dtype=torch.float64))


@given(seconds)
def test_exponents_of_proportional(durations):
    base = f64(durations)
    assert torch.equal(duration_weights(base, exponent=0.0), torch.ones(len(base), dtype=torch.float64))
    half = duration_weights(base, exponent=0.5)
    assert torch.allclose(half, base.sqrt() / base.sqrt().mean())
    assert torch.allclose(duration_weights(base * 7.0, exponent=0.5), half)


def test_weights_are_one_over_probability_floored_and_masked():
    inclusion = f64([1.0, 0.5, 0.001, math.nan])
    weights = duration_weights(
        torch.ones(4),
        "inverse_inclusion",
        inclusion=inclusion,
        mask=torch.tensor([True, True, True, False]),
        min_inclusion=0.1,
    )
    assert weights.tolist() == pytest.approx([3 / 13, 6 / 13, 30 / 13, 1.0])


def test_wrong_probabilities_are_named():
    with pytest.raises(ConfigError, match="pass `inclusion`"):
        duration_weights(torch.ones(2), "inverse_inclusion")
    with pytest.raises(DurationError, match=r"inclusion 1\.5 of row 1"):
        duration_weights(torch.ones(2), "inverse_inclusion", inclusion=f64([1.0, 1.5]))
    with pytest.raises(DurationError, match="inclusion nan of row 0"):
        duration_weights(torch.ones(2), "inverse_inclusion", inclusion=f64([math.nan, 1.0]))
    with pytest.raises(DurationError, match="inclusion has shape"):
        duration_weights(torch.ones(2), "inverse_inclusion", inclusion=f64([1.0]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"exponent": -1.0}, "duration_exponent.*-1.0"),
        ({"exponent": math.inf}, "duration_exponent"),
        ({"min_inclusion": 0.0}, "duration_min_inclusion.*0.0"),
        ({"min_inclusion": 1.5}, "duration_min_inclusion"),
    ],
)
def test_impossible_settings_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        duration_weights(torch.ones(2), **settings)
