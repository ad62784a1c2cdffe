"""Estimators equal the mean over every subset, and values worked out by hand."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trl_mle.errors import ConfigError
from trl_mle.evaluation.estimators import (
    best_of_k,
    best_of_k_if_valid,
    choice_weights,
    curve_sizes,
    pass_at_k,
    samples_to_first,
)

NAN = float("nan")
# Few different values, so that ties are common.
SAMPLES = st.lists(
    st.tuples(st.sampled_from([NAN, 0.0, 0.1, 0.2, 0.5]), st.integers(-3, 3).map(float)), min_size=1, max_size=7
)


def over_subsets(choice, value, k, worst):
    """Mean over all subsets; equal bests of a subset count with equal weight."""
    results = []
    for subset in combinations(range(len(choice)), k):
        valid = [index for index in subset if not np.isnan(choice[index])]
        best = [index for index in valid if choice[index] == max(choice[i] for i in valid)]
        results.append(np.mean([value[index] for index in best]) if best else worst)
    return np.array(results, dtype=float)


@settings(max_examples=150, deadline=None)
@given(SAMPLES, st.data())
def test_estimators_are_means_over_all_subsets(samples, data):
    choice, value = (np.array(column) for column in zip(*samples, strict=True))
    k = data.draw(st.integers(1, len(samples)))
    assert best_of_k(choice, value, k, -1.0) == pytest.approx(over_subsets(choice, value, k, -1.0).mean())
    found = over_subsets(choice, value, k, NAN)
    share = (~np.isnan(found)).mean()
    assert pass_at_k(len(samples), int((~np.isnan(choice)).sum()), k) == pytest.approx(share)
    assert choice_weights(choice, k).sum() == pytest.approx(share)
    expected = None if not share else pytest.approx(np.nanmean(found))
    assert best_of_k_if_valid(choice, value, k) == expected


def test_by_hand():
    # a (public 1, private 10), b (2, 20), c (2, 40), and d, which is invalid. The bests of ab, ac, ad, bc, bd, cd:
    # b, c, a, one of b and c, b, c.
    choice, value = np.array([1.0, 2.0, 2.0, NAN]), np.array([10.0, 20.0, 40.0, NAN])
    assert best_of_k(choice, value, 2, 0.0) == pytest.approx((20 + 40 + 10 + 30 + 20 + 40) / 6)
    assert best_of_k(choice, value, 1, -2.0) == pytest.approx((10 + 20 + 40 - 2) / 4)
    assert best_of_k_if_valid(choice, value, 1) == pytest.approx(70 / 3)
    assert pass_at_k(4, 3, 1) == 0.75
    assert pass_at_k(4, 3, 2) == 1.0
    assert pass_at_k(10, 2, 3) == pytest.approx(1 - (8 * 7 * 6) / (10 * 9 * 8))


@given(st.integers(1, 60), st.data())
def test_samples_to_the_first_valid_one(n, data):
    """Equals the sum over k of the probability that the first k samples hold none."""
    valid = data.draw(st.integers(1, n))
    assert samples_to_first(n, valid) == pytest.approx(1 + sum(1 - pass_at_k(n, valid, k) for k in range(1, n + 1)))
    assert samples_to_first(n, 0) is None


def test_large_numbers_do_not_overflow():
    assert 0 < pass_at_k(4096, 1, 2048) < 1
    assert pass_at_k(4096, 1, 1024) == pytest.approx(0.25)


@pytest.mark.parametrize("k", [0, 5])
def test_a_subset_has_at_least_one_sample_and_at_most_all(k):
    with pytest.raises(ConfigError, match="from 1 to"):
        pass_at_k(4, 2, k)


def test_sizes_of_a_curve():
    assert [curve_sizes(n) for n in (0, 1, 2, 6, 8)] == [[], [1], [1, 2], [1, 2, 4, 6], [1, 2, 4, 8]]
