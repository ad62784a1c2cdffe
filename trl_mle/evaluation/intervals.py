"""Confidence intervals of the estimators, by SciPy: Wilson's for shares, the BCa bootstrap for everything else."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from trl_mle.evaluation.estimators import best_of_k, best_of_k_if_valid, choice_groups, pass_at_k, subset_shares

CONFIDENCE = 0.95
RESAMPLES = 2000
"""Resamples of a bootstrap."""
CELLS = 2_000_000
"""Most numbers in the array of one batch of resamples, which bounds the memory that many samples need."""
FEWEST = 8
"""Fewest samples, and fewest valid ones for a mean over them, that a bootstrap is made of."""
LARGEST_SHARE = 0.125
"""Largest `k / n` of an interval for the best of `k`: beyond it the few best samples decide, and resampling them says too little
(`tests/evaluation/test_intervals.py` measures the coverage)."""


@dataclass(frozen=True)
class Estimate:
    """An estimate with its confidence interval."""

    value: float
    low: float | None = None
    """Lower end of the interval; `None` where the samples do not support one."""
    high: float | None = None
    """Upper end of the interval."""


def share(successes: int, n: int) -> Estimate:
    """A share with Wilson's score interval; no interval without a sample."""
    return at_least_one(successes, n, 1) if n else Estimate(math.nan)


def at_least_one(valid: int, n: int, k: int) -> Estimate:
    """pass@k. Its interval is that of the valid share `p`, carried over by `1 - (1 - p) ** k`, which rises with `p`."""
    from scipy.stats import binomtest

    interval = binomtest(valid, n).proportion_ci(CONFIDENCE, method="wilson")
    low, high = (float(1.0 - (1.0 - end) ** k) for end in interval)
    point = pass_at_k(n, valid, k)
    # The unbiased estimate is a little above `1 - (1 - valid / n) ** k`, at the ends by more than the interval is wide.
    return Estimate(point, min(low, point), max(high, point))


def best_of(choice: np.ndarray, value: np.ndarray, k: int, worst: float | None, seed: int = 0) -> Estimate | None:
    """The best of `k` by `choice`, told by `value`; see [`best_of_k`]. `worst=None` is over subsets with a valid sample only.

    Returns `None` if there is nothing to estimate.
    """
    choice, value = np.asarray(choice, dtype=float), np.asarray(value, dtype=float)
    point = best_of_k_if_valid(choice, value, k) if worst is None else best_of_k(choice, value, k, worst)
    if point is None or not math.isfinite(point):
        return None
    n, valid = len(choice), int((~np.isnan(choice)).sum())
    if n < FEWEST or k > max(1, LARGEST_SHARE * n) or (worst is None and valid < FEWEST):
        return Estimate(point)
    interval = _bootstrap((np.arange(n),), _best_of_resamples(choice, value, k, worst, point), seed)
    return Estimate(point, *interval)


def mean_over_strata(strata: Sequence[np.ndarray], seed: int = 0) -> Estimate | None:
    """The mean of the means of several samples, such as differences on several tasks; each is resampled by itself.

    The interval is about the policies on these tasks. What other tasks would show is not in it.
    """
    strata = [np.asarray(values, dtype=float) for values in strata if len(values)]
    if not strata:
        return None
    point = float(np.mean([values.mean() for values in strata]))
    if min(map(len, strata)) < FEWEST:
        return Estimate(point)

    def statistic(*samples: np.ndarray, axis: int = -1) -> np.ndarray:
        return sum(sample.mean(axis=axis) for sample in samples) / len(samples)  # type: ignore[return-value]

    return Estimate(point, *_bootstrap(tuple(strata), statistic, seed))


def _bootstrap(data: tuple[np.ndarray, ...], statistic: Callable, seed: int) -> tuple[float | None, float | None]:
    """The ends of a BCa interval; `None` twice where the samples are all equal."""
    from scipy.stats import bootstrap

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # of degenerate data, which have no interval
        result = bootstrap(
            data,
            statistic,
            n_resamples=RESAMPLES,
            batch=max(1, CELLS // max(map(len, data))),
            vectorized=True,
            axis=-1,
            confidence_level=CONFIDENCE,
            method="BCa",
            rng=np.random.default_rng(seed),
        )
    low, high = (float(end) for end in result.confidence_interval)
    return (low, high) if math.isfinite(low) and math.isfinite(high) else (None, None)


def _best_of_resamples(
    choice: np.ndarray, value: np.ndarray, k: int, worst: float | None, point: float
) -> Callable[..., np.ndarray]:
    """The estimator of the best of `k` for arrays of sample numbers, of shape (..., n) or, in a jackknife, (..., n - 1)."""
    groups = choice_groups(choice)
    count = int(groups.max(initial=0)) + 1
    values = np.where(groups > 0, value, 0.0)

    def statistic(numbers: np.ndarray, axis: int = -1) -> np.ndarray:
        numbers = np.moveaxis(numbers, axis, -1)
        shape, n = numbers.shape[:-1], numbers.shape[-1]
        rows = numbers.reshape(-1, n)
        cells = groups[rows] + count * np.arange(len(rows))[:, None]
        sizes = np.bincount(cells.ravel(), minlength=count * len(rows)).reshape(-1, count)
        sums = np.bincount(cells.ravel(), weights=values[rows].ravel(), minlength=count * len(rows)).reshape(-1, count)
        upto = np.cumsum(sizes, axis=1)
        shares = subset_shares(n, k)
        weights = shares[upto] - shares[upto - sizes]
        found = 1.0 - weights[:, 0]
        means = np.divide(sums, sizes, out=np.zeros_like(sums), where=sizes > 0)
        total = (weights[:, 1:] * means[:, 1:]).sum(axis=1)
        if worst is None:
            # A resample without a valid sample, one in thousands, says nothing.
            result = np.divide(total, found, out=np.full_like(total, point), where=found > 1e-12)
        else:
            result = total + (1.0 - found) * worst
        return result.reshape(shape)

    return statistic
