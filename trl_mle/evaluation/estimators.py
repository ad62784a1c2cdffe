"""Unbiased estimators from `n` samples of a policy: pass@k, the expected best of k, and samples until the first valid one.

All of them are means over every subset of `k` of the `n` samples, in closed form. pass@k is that of arXiv 2107.03374. The best of
`k` is chosen by one number, the public score, and told by another one, the private score.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from trl_mle.errors import ConfigError


@lru_cache(maxsize=256)
def subset_shares(n: int, k: int) -> np.ndarray:
    """Share of the subsets of `k` out of `n` samples that lie within the first `j`: `C(j, k) / C(n, k)`, shape (n + 1,)."""
    if not 1 <= k <= n:
        raise ConfigError(f"`k` is {k}; it must be from 1 to the number of samples, {n}.")
    shares = np.zeros(n + 1)
    # Downwards from C(n, k) / C(n, k) = 1, as binomial coefficients themselves overflow: C(j - 1, k) = C(j, k) (j - k) / j.
    sizes = np.arange(n, k, -1)
    shares[n] = 1.0
    shares[sizes - 1] = np.cumprod((sizes - k) / sizes)
    shares.flags.writeable = False
    return shares


def pass_at_k(n: int, valid: int, k: int) -> float:
    """Expected share of the subsets of `k` samples in which at least one is valid.

    Args:
        n (`int`):
            Samples.
        valid (`int`):
            Valid ones among them.
        k (`int`):
            Size of a subset, at most `n`.
    """
    return float(1.0 - subset_shares(n, k)[n - valid])


def choice_weights(choice: np.ndarray, k: int) -> np.ndarray:
    """Probability that a sample is the one that is chosen from a random subset of `k` samples.

    Equal samples are chosen at random. A subset without a valid sample chooses none, so the weights add up to pass@k. With values
    `v` of the samples, `weights @ v` is the unbiased estimate of the value of the chosen one, if a subset without a choice counts
    as 0.

    Args:
        choice (`np.ndarray` of shape (n,)):
            What the choice is made by, higher is better; NaN for a sample that cannot be chosen.
        k (`int`):
            Size of a subset, at most `n`.

    Returns:
        `np.ndarray` of shape (n,).
    """
    choice = np.asarray(choice, dtype=float)
    shares = subset_shares(len(choice), k)
    groups = choice_groups(choice)
    sizes = np.bincount(groups, minlength=groups.max(initial=0) + 1)
    upto = np.cumsum(sizes)
    with np.errstate(invalid="ignore", divide="ignore"):
        each = (shares[upto] - shares[upto - sizes]) / sizes
    each[0] = 0.0
    return each[groups]


def choice_groups(choice: np.ndarray) -> np.ndarray:
    """Rank of each sample's `choice`, equal ones together: 0 for NaN, then 1, 2 ... from the worst to the best. Shape (n,)."""
    choice = np.asarray(choice, dtype=float)
    groups = np.zeros(len(choice), dtype=np.int64)
    valid = ~np.isnan(choice)
    if valid.any():
        groups[valid] = 1 + np.unique(choice[valid], return_inverse=True)[1]
    return groups


def best_of_k(choice: np.ndarray, value: np.ndarray, k: int, worst: float) -> float:
    """Expected value of the best of `k` samples by `choice`, where a subset without a valid sample is worth `worst`.

    Args:
        choice (`np.ndarray` of shape (n,)):
            Public scores, higher is better; NaN for a sample that is not valid.
        value (`np.ndarray` of shape (n,)):
            Private scores on any scale; those of samples that are not valid are not read.
        k (`int`):
            Size of a subset.
        worst (`float`):
            Value of a subset without a valid sample.
    """
    weights = choice_weights(choice, k)
    chosen = weights > 0
    return float(weights[chosen] @ np.asarray(value, dtype=float)[chosen] + (1.0 - weights.sum()) * worst)


def best_of_k_if_valid(choice: np.ndarray, value: np.ndarray, k: int) -> float | None:
    """As [`best_of_k`], over the subsets that have a valid sample; `None` if no subset has one."""
    weights = choice_weights(choice, k)
    chosen = weights > 0
    if not chosen.any():
        return None
    return float(weights[chosen] @ np.asarray(value, dtype=float)[chosen] / weights.sum())


def samples_to_first(n: int, valid: int) -> float | None:
    """Expected number of samples until the first valid one, if the `n` samples come in random order: `(n + 1) / (valid + 1)`.

    `None` if none is valid: then it is more than `n`.
    """
    return (n + 1) / (valid + 1) if valid else None


def curve_sizes(n: int) -> list[int]:
    """The sizes `k` of a curve: powers of two up to `n`, and `n` itself."""
    sizes = [2**power for power in range(n.bit_length()) if 2**power <= n]
    return sizes if not sizes or sizes[-1] == n else [*sizes, n]
