"""A policy of up to three turns that chooses when to stop, small enough that every group of its episodes can be enumerated.

Expectations of an estimator of the policy gradient are then exact sums, with no sampling. Used by the tests and by
`benchmarks/turn_credit.py`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from trl_mle.training.turn_credit.advantages import turn_advantages

LAST_TURN, STOP, ACTIONS = 3, 0, 3
LOGITS = ((0.2, -0.1, 0.4), (0.3, 0.1, -0.2), (0.0, 0.5, -0.3))
"""Of each action at each turn. Action 0 stops, the other two go on."""


@dataclass(frozen=True)
class Episode:
    actions: tuple[int, ...]
    earned: tuple[float, ...]
    """Reward of each action."""
    rest: float = 0.0
    """Reward of the episode that no action is credited with."""


def earned_by(turn: int, action: int) -> float:
    """More is to be earned in later turns, by working (1) more than by trying (2); who stops (0) late loses."""
    return (0.0, 0.3, 0.5)[action] + 0.4 * turn * (action == 1) - 0.2 * turn * (action == STOP)


def episodes(
    earned: Callable[[int, int], float] = earned_by, rest: Callable[[tuple], float] = lambda word: 0.0
) -> list[Episode]:
    """Every episode that the policy can write."""
    found = []
    for length in range(1, LAST_TURN + 1):
        for word in itertools.product(range(ACTIONS), repeat=length):
            ends = word[-1] == STOP or length == LAST_TURN
            if ends and STOP not in word[:-1]:
                found.append(Episode(word, tuple(earned(turn, a) for turn, a in enumerate(word)), rest(word)))
    return found


Groups = Sequence[Sequence[Episode]]
Estimator = Callable[[Groups], list[list[list[float]]]]
"""Groups of episodes -> the advantage of each action of each episode of each group."""


def of_trainer(groups: Groups) -> list[list[list[float]]]:
    """What the trainer does with `turn_credit: return` and `scale_rewards: none`."""
    rows = [episode for group in groups for episode in group]
    number = torch.tensor([row for row, episode in enumerate(rows) for _ in episode.actions])
    earned = torch.tensor([value for episode in rows for value in episode.earned], dtype=torch.float64)
    rewards = torch.tensor([sum(episode.earned) + episode.rest for episode in rows], dtype=torch.float64)
    scorable = torch.ones(len(rows), dtype=torch.bool)
    values = iter(turn_advantages(rewards, scorable, earned, number, len(groups[0]), scale="none").per_action.tolist())
    return [[[next(values) for _ in episode.actions] for episode in group] for group in groups]


def returns_of(group: Sequence[Episode]) -> list[list[float]]:
    return [[sum(episode.earned[turn:]) for turn in range(len(episode.earned))] for episode in group]


def minus_mean_of_turn(values: list[list[float]], absent: float | None = None) -> list[list[float]]:
    """Each value minus the mean over the episodes that reached its turn, its own included.

    Episodes that did not reach it count as `absent`, if that is given.
    """
    means = []
    for turn in range(LAST_TURN):
        there = [row[turn] if len(row) > turn else absent for row in values]
        known = [value for value in there if value is not None]
        means.append(sum(known) / max(len(known), 1))
    return [[value - means[turn] for turn, value in enumerate(row)] for row in values]


def survivors_with_self(groups: Groups) -> list[list[list[float]]]:
    """Return minus the mean return of all episodes of the group that reached the turn."""
    return [minus_mean_of_turn(returns_of(group)) for group in groups]


def absent_as_zero(groups: Groups) -> list[list[list[float]]]:
    """Return minus the mean of the whole group, in which an episode that has ended counts as 0."""
    return [minus_mean_of_turn(returns_of(group), 0.0) for group in groups]


def rewards_by_turn_then_summed(groups: Groups) -> list[list[list[float]]]:
    """Reward of each turn minus the mean of that turn, summed from the action to the end of its own episode."""
    above = [minus_mean_of_turn([list(episode.earned) for episode in group]) for group in groups]
    return [[[sum(row[turn:]) for turn in range(len(row))] for row in group] for group in above]


def whole_episodes(groups: Groups) -> list[list[list[float]]]:
    """GRPO: the reward of the episode minus the mean of the group, for each of its actions."""
    found = []
    for group in groups:
        totals = [sum(episode.earned) + episode.rest for episode in group]
        mean = sum(totals) / len(totals)
        found.append([[total - mean] * len(e.actions) for total, e in zip(totals, group, strict=True)])
    return found


class StoppingPolicy:
    """Softmax over three actions at each turn, by `logits` of shape `(3, 3)`."""

    def __init__(self, written: Sequence[Episode], logits: Sequence[Sequence[float]] = LOGITS):
        self.written = written
        self.probabilities = torch.softmax(torch.tensor(logits, dtype=torch.float64), dim=1)

    def probability(self, episode: Episode) -> float:
        return math.prod(self.probabilities[turn, action].item() for turn, action in enumerate(episode.actions))

    def score(self, turn: int, action: int) -> torch.Tensor:
        """Gradient of the log-probability of an action, shape `(3, 3)`."""
        gradient = torch.zeros_like(self.probabilities)
        gradient[turn] = -self.probabilities[turn]
        gradient[turn, action] += 1.0
        return gradient

    def gradient(self) -> torch.Tensor:
        """Gradient of the expected reward, by differentiating the sum over all episodes."""
        logits = self.probabilities.log().clone().requires_grad_()
        terms = [
            sum(torch.log_softmax(logits[turn], 0)[action] for turn, action in enumerate(episode.actions)).exp()
            * (sum(episode.earned) + episode.rest)
            for episode in self.written
        ]
        (found,) = torch.autograd.grad(torch.stack(terms).sum(), logits)
        return found

    def moments(self, estimator: Estimator, size: int = 3) -> tuple[torch.Tensor, float]:
        """Exact mean, shape `(3, 3)`, and variance (summed over the parameters) of the estimate from one group of `size`."""
        groups = list(itertools.combinations_with_replacement(self.written, size))
        weights, estimates = [], []
        for group, advantages in zip(groups, estimator(groups), strict=True):
            repeats = math.prod(math.factorial(group.count(episode)) for episode in set(group))
            orders = math.factorial(size) / repeats
            weights.append(orders * math.prod(self.probability(episode) for episode in group))
            estimates.append(
                sum(
                    value * self.score(turn, action) / size
                    for episode, row in zip(group, advantages, strict=True)
                    for turn, (action, value) in enumerate(zip(episode.actions, row, strict=True))
                )
            )
        weight, stacked = torch.tensor(weights, dtype=torch.float64), torch.stack(estimates)
        mean = torch.einsum("n,nij->ij", weight, stacked)
        return mean, float((weight * (stacked - mean).square().sum(dim=(1, 2))).sum())
