"""Intervals hold the truth as often as they say, and there is none where the samples do not support one."""

from __future__ import annotations

import numpy as np
import pytest

from trl_mle.evaluation import intervals
from trl_mle.evaluation.estimators import best_of_k
from trl_mle.evaluation.intervals import Estimate, at_least_one, best_of, mean_over_strata, share

NAN = float("nan")


def policy(rng, n):
    """Public and private scores of a policy that is valid two times in five; both are a quality with noise."""
    quality = rng.beta(2, 5, n)
    public = np.where(rng.random(n) < 0.4, np.round(quality + 0.02 * rng.normal(size=n), 2), NAN)
    return public, quality + 0.02 * rng.normal(size=n)


def covered(estimates, truth):
    ends = [(e.low, e.high) for e in estimates]
    return np.mean([low <= truth <= high for low, high in ends])


def test_pass_at_k_covers():
    rng = np.random.default_rng(0)
    for p in (0.02, 0.3, 0.9):
        for k in (1, 8):
            estimates = [at_least_one(int(rng.binomial(64, p)), 64, k) for _ in range(150)]
            assert covered(estimates, 1 - (1 - p) ** k) > 0.9
            assert all(e.low <= e.value <= e.high for e in estimates)


def test_means_over_tasks_cover(monkeypatch):
    monkeypatch.setattr(intervals, "RESAMPLES", 500)
    rng = np.random.default_rng(1)
    estimates = [mean_over_strata([rng.normal(0.3, 1, 40), rng.exponential(1, 60) - 0.7]) for _ in range(100)]
    assert covered(estimates, 0.3) > 0.87


@pytest.mark.slow
@pytest.mark.parametrize(("n", "k"), [(32, 1), (64, 1), (64, 8), (128, 16)])
def test_the_best_of_k_covers(monkeypatch, n, k):
    monkeypatch.setattr(intervals, "RESAMPLES", 1000)
    rng = np.random.default_rng(2)
    draws = [policy(rng, n) for _ in range(200)]
    large = policy(np.random.default_rng(3), 200_000)
    for worst in (-1.0, None):
        # Of that many samples, the estimate is the truth.
        blocks = np.array_split(np.arange(200_000), 2000)
        if worst is None:
            parts = [
                (best_of_k(large[0][b], large[1][b], k, 0.0), best_of_k(large[0][b], np.ones(100), k, 0.0))
                for b in blocks
            ]
            truth = np.sum([part[0] for part in parts]) / np.sum([part[1] for part in parts])
        else:
            truth = np.mean([best_of_k(large[0][b], large[1][b], k, worst) for b in blocks])
        estimates = [e for public, private in draws if (e := best_of(public, private, k, worst)) and e.low is not None]
        assert len(estimates) > 190
        assert covered(estimates, truth) > 0.87


def test_no_interval_where_samples_say_nothing_about_it():
    few = np.arange(4.0)
    assert best_of(few, few, 2, -1.0) == Estimate(pytest.approx(best_of_k(few, few, 2, -1.0)))
    assert best_of(np.full(20, NAN), np.zeros(20), 1, None) is None
    assert best_of(np.full(20, NAN), np.zeros(20), 1, -1.0) == Estimate(-1.0)
    many = np.arange(64.0)
    assert best_of(many, many, 32, -1.0).low is None  # the best few samples decide
    assert mean_over_strata([]) is None
    assert mean_over_strata([np.zeros(3)]) == Estimate(0.0)
    assert np.isnan(share(0, 0).value)
    assert share(0, 128).high > 0.02


def test_resampling_uses_the_estimator_itself():
    """The bootstrap's statistic, of the samples as they are, is the estimate."""
    rng = np.random.default_rng(4)
    public, private = policy(rng, 40)
    for k in (1, 5):
        for worst in (-1.0, None):
            point = best_of(public, private, k, worst).value
            statistic = intervals._best_of_resamples(public, private, k, worst, point)
            order = np.stack([rng.permutation(40), np.arange(40)])
            assert statistic(order) == pytest.approx([point, point])
