"""From a raw score to a number in [-1, 1], strictly monotone: of two valid programs, the better one always gets more reward.

The middle part is linear in the score, its logarithm or its rank. Beyond `KNOT` a squash takes over. Its slope at the knot is that
of the middle part, and it never reaches 1. It grows with the logarithm of the distance, so that scores a thousand and a million
times off still differ.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from functools import lru_cache

from trl_mle.types import Direction, ScoreTransform

KNOT = 0.8
"""Size of a transformed score up to which nothing is squashed."""
_LOG_OF_SMALLEST = math.log(5e-324)


def transform_score(score: float, direction: Direction, transform: ScoreTransform) -> float:
    """Raw `score` -> number in [-1, 1] where higher is better. Different scores give different numbers, up to rounding.

    Raises:
        ValueError: a score that is not finite; such a score is never valid.
    """
    if not math.isfinite(score):
        raise ValueError(f"score {score} is not finite")
    if transform.kind == "percentile":
        return _percentile(score, direction, transform)
    value, distance = _position(score, direction, transform)
    if abs(value) <= KNOT:
        return value
    if value > 0 and transform.optimum is not None:
        # No score is beyond the optimum, so the linear part may go up to it.
        best_value, _ = _position(transform.optimum, direction, transform)
        if best_value <= 1.0:
            return min(value, 1.0)
    return math.copysign(_squash(1.0 - KNOT, distance), value)


def _position(score: float, direction: Direction, transform: ScoreTransform) -> tuple[float, float]:
    """Place of `score` between `worst` (-1) and `best` (1), and `log(1 + distance)` from the knot in the same unit."""
    if transform.kind == "identity":
        value = score if direction == "maximize" else -score
        return value, math.log1p(max(abs(value) - KNOT, 0.0))
    assert transform.worst is not None and transform.best is not None
    worst, best = transform.worst, transform.best
    if transform.kind == "log":
        score, worst, best = _signed_log(score), math.log(worst), math.log(best)
    value = 2.0 * ((score - worst) / (best - worst)) - 1.0
    if not math.isfinite(score - worst):  # the halves of numbers near the largest float have a difference
        value = 2.0 * ((score / 2 - worst / 2) / (best / 2 - worst / 2)) - 1.0
    if math.isfinite(value):
        return value, math.log1p(max(abs(value) - KNOT, 0.0))
    # The quotient has overflowed; its logarithm does not. Halves keep the difference finite.
    return value, math.log(abs(score / 2 - worst / 2)) - math.log(abs(best - worst)) + 2 * math.log(2)


def _signed_log(score: float) -> float:
    """The logarithm, continued to 0 and to negative scores. Finite and strictly increasing."""
    if score > 0:
        return math.log(score)
    zero = _LOG_OF_SMALLEST - 1.0
    return zero if score == 0 else 2.0 * zero - math.log(-score)


def _squash(room: float, distance: float) -> float:
    """A number from `1 - room` at `distance` 0 up to 1, which is never reached; its slope at 0 is 1."""
    return 1.0 - room * (room / (room + distance)) if room > 0 else 1.0


def _percentile(score: float, direction: Direction, transform: ScoreTransform) -> float:
    utility = score if direction == "maximize" else -score
    utilities, values, units = _leaderboard(direction, transform)
    if utility < utilities[0]:
        return -max(_squash(1.0 + values[0], _log_ratio(utilities[0], utility, units[0])), -values[0])
    if utility > utilities[-1]:
        return max(_squash(1.0 - values[-1], _log_ratio(utility, utilities[-1], units[1])), values[-1])
    at = bisect_left(utilities, utility)
    if utilities[at] == utility:
        return values[at]
    low, high = utilities[at - 1], utilities[at]
    share = (utility / 2 - low / 2) / (high / 2 - low / 2)
    return min(values[at - 1] + (values[at] - values[at - 1]) * share, values[at])


@lru_cache(maxsize=256)
def _leaderboard(
    direction: Direction, transform: ScoreTransform
) -> tuple[list[float], list[float], tuple[float, float]]:
    """Distinct scores with higher ones better, their values, and the unit of distances below the first and above the last.

    The leaderboard takes up [-KNOT, KNOT]: a policy may be worse than all of it for long, and its scores must differ then, too.
    """
    sign = 1.0 if direction == "maximize" else -1.0
    scores = sorted(sign * score for score in transform.leaderboard)
    utilities = sorted(set(scores))
    values = []
    for utility in utilities:
        worse_or_half = (bisect_left(scores, utility) + bisect_right(scores, utility)) / 2
        values.append(KNOT * (2.0 * worse_or_half / len(scores) - 1.0))
    median = scores[len(scores) // 2]
    units = tuple(abs(end / 2 - median / 2) or abs(end) / 2 or 0.5 for end in (utilities[0], utilities[-1]))
    if transform.optimum is not None and sign * transform.optimum >= utilities[-1]:
        if sign * transform.optimum > utilities[-1]:
            utilities.append(sign * transform.optimum)
            values.append(1.0)
        values[-1] = 1.0
    return utilities, values, (units[0], units[1])


def _log_ratio(high: float, low: float, half_unit: float) -> float:
    """`log(1 + (high - low) / (2 * half_unit))`, for any finite numbers."""
    half = high / 2 - low / 2
    ratio = half / half_unit
    return math.log1p(ratio) if math.isfinite(ratio) else math.log(half) - math.log(half_unit)
