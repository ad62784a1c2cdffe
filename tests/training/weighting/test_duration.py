"""Duration weights: mean 1, order, exactness, limits."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trl_mle import duration_weights
from trl_mle.errors import ConfigError, DurationError
from trl_mle.training.weighting.duration import advantage_mass, effective_sample_size, quartile_means

seconds = st.lists(st.floats(0, 1e5, allow_nan=False), min_size=1, max_size=40)


def test_proportional_is_duration_over_mean():
    weights = duration_weights(torch.tensor([1.0, 2.0, 3.0, 10.0]))
    assert weights.tolist() == pytest.approx([0.25, 0.5, 0.75, 2.5])


@given(st.floats(0, 1e6), st.integers(1, 200))
def test_equal_durations_weigh_exactly_one(duration, rows):
    weights = duration_weights(torch.full((rows,), duration))
    assert torch.equal(weights, torch.ones(rows, dtype=torch.float64))


@given(seconds, st.one_of(st.none(), st.floats(1.0, 50.0)))
def test_mean_is_one_order_is_kept_and_clip_holds(durations, clip):
    weights = duration_weights(torch.tensor(durations, dtype=torch.float64), clip=clip)
    assert weights.mean().item() == pytest.approx(1.0)
    assert (weights > 0).all()
    ordered = weights[torch.argsort(torch.tensor(durations, dtype=torch.float64), stable=True)]
    assert (ordered.diff() >= -1e-12).all()
    if clip is not None:
        assert weights.max() <= clip * (1 + 1e-12)


@given(seconds, st.floats(1e-3, 1e3))
def test_the_unit_of_time_does_not_matter(durations, factor):
    base = torch.tensor(durations, dtype=torch.float64) + 1.0
    assert torch.allclose(duration_weights(base), duration_weights(base * factor, floor_s=1e-9))


@given(seconds)
def test_none_weighs_all_alike(durations):
    assert torch.equal(duration_weights(torch.tensor(durations), "none"), torch.ones(len(durations)).double())


def test_unscorable_rows_have_no_part_in_the_mean():
    weights = duration_weights(torch.tensor([1.0, 1e6, 3.0]), mask=torch.tensor([True, False, True]))
    assert weights.tolist() == [0.5, 1.0, 1.5]
    assert duration_weights(torch.tensor([5.0]), mask=torch.tensor([False])).tolist() == [1.0]


def test_a_completion_that_never_ran_counts_as_the_floor():
    weights = duration_weights(torch.tensor([math.nan, 3.0]), floor_s=1.0)
    assert weights.tolist() == [0.5, 1.5]


def test_clip_restores_the_mean():
    weights = duration_weights(torch.tensor([1.0, 1.0, 1.0, 97.0]), clip=2.0)
    assert weights.tolist() == pytest.approx([2 / 3, 2 / 3, 2 / 3, 2.0])
    assert torch.equal(duration_weights(torch.tensor([1.0, 9.0]), clip=1.0), torch.ones(2).double())


@pytest.mark.parametrize("bad", [-1.0, math.inf, -math.inf])
def test_impossible_durations_are_named(bad):
    with pytest.raises(DurationError, match="row 1"):
        duration_weights(torch.tensor([1.0, bad]))


def test_wrong_shapes():
    with pytest.raises(DurationError, match=r"\(2, 1\)"):
        duration_weights(torch.ones(2, 1))
    with pytest.raises(DurationError, match="mask"):
        duration_weights(torch.ones(2), mask=torch.ones(3))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "fast"}, "'fast'.*'proportional'"),
        ({"clip": 0.5}, "0.5.*at least 1"),
        ({"clip": math.nan}, "nan"),
        ({"floor_s": 0.0}, "0.0.*positive"),
    ],
)
def test_impossible_settings_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        duration_weights(torch.ones(2), **settings)


def test_effective_sample_size():
    assert effective_sample_size(torch.ones(8)) == 1.0
    assert effective_sample_size(torch.tensor([1.0, 0.0, 0.0, 0.0])) == 0.25


def test_quartiles_go_from_short_to_long():
    durations = torch.tensor([4.0, 1.0, 3.0, 2.0])
    assert quartile_means(durations, torch.tensor([40.0, 10.0, 30.0, 20.0])) == [10.0, 20.0, 30.0, 40.0]
    assert advantage_mass(durations, torch.tensor([-4.0, 1.0, 3.0, 2.0])) == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert all(math.isnan(share) for share in advantage_mass(durations, torch.zeros(4)))
