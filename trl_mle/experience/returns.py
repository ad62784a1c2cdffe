"""Return-weighted fine-tuning: how often each earlier program counts as a demonstration.

Offline reinforcement learning as regression imitates each action with the weight `exp(return / temperature)`: reward-weighted
regression (Peters and Schaal, ICML 2007) and advantage-weighted regression (Peng et al., arXiv 1910.00177). A baseline of the
group cancels, because weights are divided by their mean.

Weights become numbers of copies. `trl.SFTTrainer` has no weights of rows: its collator drops other columns, and its loss is
computed from fused logits. Copies work with packing, with every loss and on several processes.
"""

from __future__ import annotations

import math
import random
from collections.abc import Hashable, Sequence
from statistics import fmean, pstdev

from trl_mle.errors import ConfigError

MAX_WEIGHT = 20.0
"""Largest weight beside a mean of 1, as in AWR. One program that stands out must not be the whole data set."""
_HALVINGS = 60


def check_temperature(temperature: float) -> None:
    """Raise `ConfigError` if `temperature` is no positive number."""
    if not (0 < temperature < math.inf):
        raise ConfigError(f"`demonstration_temperature` is {temperature!r}; it must be a number above 0, such as 1.")


def return_weights(
    returns: Sequence[float], groups: Sequence[Hashable], temperature: float = 1.0, max_weight: float = MAX_WEIGHT
) -> list[float]:
    """Weights of N demonstrations, with mean 1 in each group: `exp(return / (temperature * spread of the group))`.

    The spread is the standard deviation, so tasks with narrow and with wide scores are treated alike. Where a weight would pass
    `max_weight`, the temperature of its group is raised until none does.

    Args:
        returns (sequence of N `float`):
            Finite returns of valid programs. Failures do not belong here: their penalty would be all of the spread.
        groups (sequence of N hashable):
            Returns are compared within a group, such as a task with a kind of prompt.
        temperature (`float`, *optional*, defaults to `1.0`):
            In standard deviations of a group. A small one imitates the best alone, a large one all alike.
        max_weight (`float`, *optional*, defaults to `20.0`):
            Largest weight, above 1.

    Raises:
        ConfigError: `temperature` is no positive number.
        ValueError: a return is not finite.
    """
    check_temperature(temperature)
    if not all(map(math.isfinite, returns)):
        raise ValueError("returns must be finite")
    members: dict[Hashable, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    weights = [1.0] * len(returns)
    for indices in members.values():
        values = [returns[index] for index in indices]
        for index, weight in zip(indices, _weights(values, temperature, max_weight), strict=True):
            weights[index] = weight
    return weights


def _weights(values: list[float], temperature: float, max_weight: float) -> list[float]:
    best, spread = max(values), pstdev(values)
    if not spread > 0:  # equal, or so close that the difference is lost
        return [1.0] * len(values)
    below = [(value - best) / spread for value in values]

    def at(sharpness: float) -> list[float]:
        raw = [math.exp(max(distance * sharpness, -700.0)) for distance in below]
        mean = fmean(raw)
        return [weight / mean for weight in raw]

    weights = at(1 / temperature)
    if max(weights) <= max_weight:
        return weights
    # The largest weight grows with the sharpness, from 1.
    low, high = 0.0, 1 / temperature
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if max(at(middle)) <= max_weight else (low, middle)
    return at(low)


def resample(weights: Sequence[float], count: int, rng: random.Random) -> list[int]:
    """Indices of `count` rows drawn in proportion to `weights`, by systematic resampling.

    A row of weight `w` is drawn `count * w / sum(weights)` times, rounded up or down, so few rows are lost to chance.

    Raises:
        ValueError: no weight is positive, or one is negative or not finite.
    """
    total = math.fsum(weights)
    if not (0 < total < math.inf) or min(weights) < 0:
        raise ValueError("weights must be finite and not negative, and one must be positive")
    step, position = total / count if count else math.inf, rng.random()
    indices: list[int] = []
    passed = 0.0
    for index, weight in enumerate(weights):
        passed += weight
        while len(indices) < count and (len(indices) + position) * step < passed:
            indices.append(index)
    # Sums of many weights are rounded: the last draw may lie just beyond them.
    last = max(index for index, weight in enumerate(weights) if weight > 0)
    return indices + [last] * (count - len(indices))


def effective_sample_size(weights: Sequence[float]) -> float:
    """Kish's number of equally weighted rows that carry as much: `sum(w)^2 / sum(w^2)`."""
    squares = math.fsum(weight * weight for weight in weights)
    return math.fsum(weights) ** 2 / squares if squares else 0.0
