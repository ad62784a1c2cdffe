"""Credit over the steps of an improvement chain: a parent gets a part of what its descendants gained.

With self-improvement prompts, a chain of programs is an episode, and its return is known at its end. MS-GRPO (Dilkes et al.,
arXiv 2508.10839) gives the return of the episode to every step. Here a program is worth its own reward and, discounted, the
gain that programs made of it have over it. A program that is good to start from is worth more than its score.

Gains are averaged over the children, so a program does not gain credit by being shown more often. A child that failed, or is
worse than its parent, has a gain of 0: both programs are at hand then, and the better one counts.
"""

from __future__ import annotations

from collections.abc import Sequence

from trl_mle.errors import ConfigError


def check_discount(discount: float) -> None:
    """Raise `ConfigError` if `discount` is not between 0 and 1."""
    if not 0 <= discount <= 1:
        raise ConfigError(f"`chain_discount` is {discount!r}; it must be between 0 (no credit) and 1.")


def chain_returns(
    rewards: Sequence[float | None], parents: Sequence[int | None], valid: Sequence[bool], discount: float
) -> list[float | None]:
    """Return of each of N programs: `V = R + discount * mean over children of max(0, V of the child - R)`.

    A return is never below the program's own reward and never above the best reward among the program and its valid descendants.
    Only valid programs are given credit, and only by valid children. So a failure keeps its penalty, and any valid program is
    still worth more than any failure. An infrastructure fault is no child: it says nothing about its parent.

    Args:
        rewards (sequence of N `float`):
            Reward of each program, `None` for an infrastructure fault.
        parents (sequence of N `int`):
            Index of each program's parent, `None` for a program from scratch or one whose parent is not at hand. A parent stands
            before its children.
        valid (sequence of N `bool`):
            Whether the program's submission is valid.
        discount (`float`):
            Part of the gain that a parent gets, from 0 to 1. A gain of the k-th generation counts `discount ** k`.

    Raises:
        ConfigError: `discount` is not between 0 and 1.
        ValueError: a parent does not stand before its child.
    """
    check_discount(discount)
    returns = list(rewards)
    gains = [0.0] * len(returns)
    children = [0] * len(returns)
    # From the last to the first: all children of a program are done before it.
    for index in range(len(returns) - 1, -1, -1):
        own = returns[index]
        if own is None:
            continue
        if valid[index] and children[index]:
            own = returns[index] = own + discount * gains[index] / children[index]
        parent = parents[index]
        if parent is None:
            continue
        if not 0 <= parent < index:
            raise ValueError(f"program {index} has the parent {parent}, which does not stand before it")
        reward = rewards[parent]
        if reward is not None and valid[parent]:
            children[parent] += 1
            gains[parent] += max(0.0, own - reward) if valid[index] else 0.0
    return returns
