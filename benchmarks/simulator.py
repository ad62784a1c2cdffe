"""A known softmax policy over a few programs with given durations, collected under one rule or another.

Time is simulated: counts, losses and staleness come from when programs start and finish, not from formulas. A collector has
one method, `batch(policy, random)`, which returns what reaches the learner next and what was lost since the last call. All
durations are in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class World:
    """`A` programs. A run of program `a` takes `seconds[a]`, give or take `jitter` (standard deviation of its logarithm)."""

    seconds: np.ndarray
    rewards: np.ndarray
    policy: np.ndarray
    """Probabilities at the start, shape `(A,)`."""
    jitter: float = 0.02
    reward_noise: float = 0.1

    def draw(self, policy: np.ndarray, count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Programs and how long each will take, both of shape `(count,)`."""
        actions = np.searchsorted(policy.cumsum()[:-1], random.random(count), side="right")
        return actions, self.seconds[actions] * np.exp(self.jitter * random.standard_normal(count))

    def advantages(self) -> np.ndarray:
        """True advantages under the first policy, shape `(A,)`."""
        return self.rewards - self.policy @ self.rewards

    def true_mass(self) -> np.ndarray:
        """Share of `sum |advantage|` that each program has in an unbiased batch, shape `(A,)`."""
        mass = self.policy * np.abs(self.advantages())
        return mass / mass.sum()


@dataclass(frozen=True)
class Batch:
    """What reaches the learner, `n` samples, and what was lost, `L` samples."""

    actions: np.ndarray
    seconds: np.ndarray
    """Duration that is reported of each, shape `(n,)`."""
    drawn_with: np.ndarray
    """Probability of each action under the policy that drew it, shape `(n,)`."""
    lost_actions: np.ndarray
    lost_after: np.ndarray
    """Seconds after which each was lost, shape `(L,)`."""


NOTHING = np.empty(0)
NO_ACTIONS = np.empty(0, dtype=int)


class Collector(Protocol):
    """A way to collect samples."""

    def batch(self, policy: np.ndarray, random: np.random.Generator) -> Batch:
        """The next batch, with programs drawn from `policy`, shape `(A,)`."""
        ...


@dataclass
class Synchronous:
    """`size` programs start together, and the learner waits for all."""

    world: World
    size: int

    def batch(self, policy, random):
        actions, seconds = self.world.draw(policy, self.size, random)
        return Batch(actions, seconds, policy[actions], NO_ACTIONS, NOTHING)


@dataclass
class TimeLimit:
    """As `Synchronous`, but a program that needs more than `limit_s` on the wall is stopped and its sample is lost.

    On a shared machine a program of `d` CPU seconds takes `d * exp(slowdown * Z)` on the wall; the CPU seconds are reported.
    """

    world: World
    size: int
    limit_s: float
    slowdown: float = 0.0

    def batch(self, policy, random):
        actions, seconds = self.world.draw(policy, self.size, random)
        available = self.limit_s / np.exp(self.slowdown * random.standard_normal(self.size))
        kept = seconds <= available
        return Batch(actions[kept], seconds[kept], policy[actions[kept]], actions[~kept], available[~kept])


@dataclass
class FirstFinished:
    """`started` programs start together; the first `kept` to finish are taken, the others are stopped."""

    world: World
    kept: int
    started: int

    def batch(self, policy, random):
        actions, seconds = self.world.draw(policy, self.started, random)
        order = np.argsort(seconds)
        first, late = order[: self.kept], order[self.kept :]
        after = np.full(len(late), seconds[first[-1]])
        return Batch(actions[first], seconds[first], policy[actions[first]], actions[late], after)


@dataclass
class DiscardingWindow:
    """`actors` run one program after another for `window_s`; what is unfinished then is discarded, and all start anew."""

    world: World
    actors: int
    window_s: float

    def batch(self, policy, random):
        clock = np.zeros(self.actors)
        parts: list[tuple[np.ndarray, ...]] = []
        # Each turn, every actor that has time left starts as many programs as may fit, and some more.
        while len(clock):
            turns = 8 + int((self.window_s - clock.min()) / max(policy @ self.world.seconds, 1e-9))
            actions, seconds = self.world.draw(policy, len(clock) * turns, random)
            actions, seconds = actions.reshape(-1, turns), seconds.reshape(-1, turns)
            finish = clock[:, None] + seconds.cumsum(1)
            start = finish - seconds
            begun = start < self.window_s
            parts.append((actions[begun], seconds[begun], start[begun], finish[begun] <= self.window_s))
            clock = finish[finish[:, -1] < self.window_s, -1]
        actions, seconds, start, kept = (np.concatenate(column) for column in zip(*parts, strict=True))
        after = self.window_s - start[~kept]
        return Batch(actions[kept], seconds[kept], policy[actions[kept]], actions[~kept], after)


class Actors:
    """Actors that never stop: each starts a new program, from the newest policy, when its last one has finished.

    The learner updates whenever `size` samples are there. With `max_updates`, a sample is dropped if the policy was updated
    more often than that since it started; without, nothing is ever dropped.
    """

    def __init__(self, world: World, actors: int, size: int, max_updates: int | None = None):
        self.world, self.size, self.max_updates = world, size, max_updates
        self.count = actors
        self.finish = np.empty(0)
        self.updates: list[float] = []
        """When each update was made."""

    def batch(self, policy, random):
        if not len(self.finish):
            self.action, self.seconds = self.world.draw(policy, self.count, random)
            self.finish, self.drawn_with = self.seconds.copy(), policy[self.action]
            self.version = np.zeros(self.count, dtype=int)
        kept: list[tuple[int, float, float]] = []
        lost: list[tuple[int, float]] = []
        drawn, turn = self.world.draw(policy, 2 * self.size, random), 0
        now = 0.0
        while len(kept) < self.size:
            actor = int(self.finish.argmin())
            now = float(self.finish[actor])
            action, seconds = int(self.action[actor]), float(self.seconds[actor])
            if self.max_updates is None or len(self.updates) - self.version[actor] <= self.max_updates:
                kept.append((action, seconds, float(self.drawn_with[actor])))
            else:
                too_old = self.updates[self.version[actor] + self.max_updates]
                lost.append((action, too_old - (now - seconds)))
            if turn == len(drawn[0]):
                drawn, turn = self.world.draw(policy, 2 * self.size, random), 0
            self.action[actor], self.seconds[actor] = drawn[0][turn], drawn[1][turn]
            self.drawn_with[actor] = policy[self.action[actor]]
            self.finish[actor] = now + self.seconds[actor]
            self.version[actor] = len(self.updates)
            turn += 1
        self.updates.append(now)
        actions, seconds, drawn_with = (np.array(column) for column in zip(*kept, strict=True))
        lost_actions = np.array([action for action, _ in lost], dtype=int)
        return Batch(actions, seconds, drawn_with, lost_actions, np.array([after for _, after in lost]))


@dataclass
class Repeating:
    """The count that the paper's derivation takes: every actor draws one program and repeats it for a fixed time, so that
    program `a` comes back `policy[a] * T / seconds[a]` times. The learner takes `size` of them at random."""

    world: World
    size: int

    def batch(self, policy, random):
        rate = policy / self.world.seconds
        actions, seconds = self.world.draw(rate / rate.sum(), self.size, random)
        return Batch(actions, seconds, policy[actions], NO_ACTIONS, NOTHING)
