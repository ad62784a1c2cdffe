"""Smooth weighted round robin: which name each group gets, such as a task or a kind of prompt, in exact shares."""

from __future__ import annotations

from collections.abc import Mapping


def deal(credit: Mapping[str, float], shares: Mapping[str, float], count: int) -> tuple[list[str], dict[str, float]]:
    """Names for the next `count` groups, and the credit after them: smooth weighted round robin.

    Each name earns its share of a credit per group. The group goes to the name with the most credit, which pays 1. The number of
    groups of a name therefore stays within about one group of the sum of its shares, also while shares change. Nothing is random:
    a resumed run goes on with the credit of its checkpoint.

    Args:
        credit (mapping from name to `float`):
            What earlier calls have left; empty at the start.
        shares (mapping from name to `float`):
            Shares that sum to 1. Names without a share get no group. Of equals, the first one is chosen.
        count (`int`):
            Number of groups.
    """
    left = {name: credit.get(name, 0.0) for name in shares}
    with_share = [name for name, share in shares.items() if share > 0.0]
    names = []
    for _ in range(count):
        for name, share in shares.items():
            left[name] += share
        # Rounding must not decide between equals, on whatever machine.
        name = max(with_share, key=lambda name: round(left[name], 9))
        left[name] -= 1.0
        names.append(name)
    return names, left


def normalized(weights: Mapping[str, float]) -> dict[str, float]:
    """`weights` divided by their sum."""
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}
