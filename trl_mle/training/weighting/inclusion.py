"""Probability that a sample reaches the learner, given how long its program ran.

A sample that needs `D` seconds and would be lost after `C` reaches the learner with `P(d) = P(C >= d)`. Weighing it by
`1 / P(d)` undoes the loss (Horvitz and Thompson 1952, "A Generalization of Sampling Without Replacement from a Finite
Universe", JASA 47): for any `f`, such as the gradient of a sample,

    E[ 1{included} * f / P(D) ] = E[ f * P(C >= D | D) / P(D) ] = E[ f ],

provided that `C` depends on the sample through its duration only, and that `P(D) > 0` for every duration that can occur. A
program that is never included cannot be made up for. Each rule below is one distribution of `C`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from trl_mle.errors import ConfigError
from trl_mle.training.weighting.survival import DurationMemory, Survival


class CollectionRule(Protocol):
    """A rule by which samples are collected."""

    def probability(self, durations: torch.Tensor) -> torch.Tensor:
        """Probability that a sample of each duration (seconds, shape `(B,)`) is included; shape `(B,)`, in [0, 1]."""
        ...


@dataclass(frozen=True)
class Measured:
    """Any way to collect, estimated from the losses: `P(d) = P(C >= d)` with the Kaplan-Meier curve of `C`.

    Assumes that lost samples are reported with the time after which they were lost, and that this time is independent of
    the program's duration.
    """

    lost: Survival

    def probability(self, durations: torch.Tensor) -> torch.Tensor:
        return self.lost.reaching(durations)


@dataclass(frozen=True)
class TimeOut:
    """A limit on the wall clock: `C = limit_s / slow-down`.

    Without `spread`, the clock of the durations is the clock of the limit: `P(d) = 1` up to the limit and 0 past it, so
    weights can repair nothing. With `spread`, a program of `d` (CPU) seconds takes `d * exp(spread * Z)` on the wall, `Z`
    standard normal and the same for all programs, and `P(d) = Phi(log(limit_s / d) / spread)`.
    """

    limit_s: float
    spread: float = 0.0

    def probability(self, durations: torch.Tensor) -> torch.Tensor:
        seconds = durations.to(torch.float64)
        if self.spread == 0.0:
            return (seconds <= self.limit_s).to(torch.float64)
        return torch.special.ndtr((math.log(self.limit_s) - seconds.clamp(min=1e-12).log()) / self.spread)


@dataclass(frozen=True)
class Window:
    """Actors run one program after another; what is unfinished after `window_s` seconds is discarded.

    `C` is the time that is left when a program starts. With `U(t)` programs started up to `t`, on average,
    `P(d) = U(window_s - d) / U(window_s)`.

    Without `finished`, starts are spread evenly (actors out of step): `U(t) = t / window_s`, `P(d) = 1 - d / window_s`. With it,
    all actors start together with the window and `U` is the renewal function of the durations: `U = 1 + F * U`. Assumes that
    an actor starts anew at once.
    """

    window_s: float
    finished: Survival | None = None

    def probability(self, durations: torch.Tensor) -> torch.Tensor:
        left = self.window_s - durations.to(torch.float64)
        if self.finished is None:
            return (left / self.window_s).clamp(0.0, 1.0)
        position, starts = _renewals(self.finished, self.window_s)
        shares = np.interp(left.clamp(0.0, self.window_s).numpy(), position, starts / starts[-1])
        return torch.where(left >= 0, torch.from_numpy(shares), torch.zeros_like(left))


@dataclass(frozen=True)
class FirstOf:
    """`started` programs start together and the first `kept` to finish are taken.

    A sample is kept if fewer than `kept` of the other `N - 1` finish before it: `P(d) = P(Binomial(N - 1, F(d)) < kept)`,
    averaged over durations that are the same within `resolution`, a share. Without the average, the slowest sample would have
    probability 0, although samples like it are included. A duration above all that finished counts like the longest of these
    (Efron 1967). Assumes independent durations.
    """

    kept: int
    started: int
    finished: Survival
    resolution: float = 0.1

    def probability(self, durations: torch.Tensor) -> torch.Tensor:
        seconds = durations.to(torch.float64).clamp(min=1e-9)
        step = math.log1p(self.resolution)
        number = (seconds.log() / step).floor()
        low = 1.0 - self.finished.reaching((number * step).exp())
        upper = ((number + 1) * step).exp()
        high = 1.0 - self.finished.reaching(upper)
        if self.finished.times.numel():
            high = torch.where(upper > self.finished.times[-1], torch.ones_like(high), high)
        # The expected share of all N that is kept and among the fastest q is A(q) = E[min(Binomial(N, q), kept)] / N. Its
        # derivative is P(Binomial(N - 1, q) < kept), whose mean from `low` to `high` is a quotient of differences.
        width = high - low
        share = torch.arange(self.started + 1, dtype=torch.float64).clamp(max=self.kept) / self.started
        difference = ((_binomial(self.started, high) - _binomial(self.started, low)) * share).sum(1)
        pointwise = _binomial(self.started - 1, low)[:, : self.kept].sum(1)
        return torch.where(width > 1e-9, difference / width.clamp(min=1e-9), pointwise).clamp(0.0, 1.0)


@dataclass(frozen=True)
class Staleness:
    """A sample is dropped once the policy was updated more than `max_updates` times since it started.

    With an update every `update_s` seconds and a start at any moment between two of them, `C` is uniform between
    `max_updates * update_s` and `(max_updates + 1) * update_s`: `P(d) = clip(max_updates + 1 - d / update_s, 0, 1)`.

    If the time between updates varies with a standard deviation of `update_sd_s`, `C = V * I_0 + I_1 + ... + I_m` with `V`
    uniform in [0, 1] and independent, roughly normal intervals `I`: `P(d) = E_V[Phi(((m + V) * update_s - d) / (update_sd_s *
    sqrt(m + V^2)))]`. This assumes that the same number of samples starts in every interval, which holds if a learner
    updates after a fixed number of samples and actors start anew at once.
    """

    max_updates: int
    update_s: float
    update_sd_s: float = 0.0

    def probability(self, durations: torch.Tensor) -> torch.Tensor:
        seconds = durations.to(torch.float64)
        if self.update_sd_s == 0.0:
            return (self.max_updates + 1 - seconds / self.update_s).clamp(0.0, 1.0)
        place = (torch.arange(64, dtype=torch.float64) + 0.5) / 64
        mean = (self.max_updates + place) * self.update_s
        deviation = self.update_sd_s * (self.max_updates + place**2).sqrt()
        return torch.special.ndtr((mean - seconds.unsqueeze(1)) / deviation).mean(1)


def _binomial(trials: int, p: torch.Tensor) -> torch.Tensor:
    """Probabilities of 0 .. `trials` successes, shape `(B, trials + 1)`, for `p` of shape `(B,)`."""
    count = torch.arange(trials + 1, dtype=torch.float64)
    n = torch.tensor(float(trials), dtype=torch.float64)
    ways = torch.lgamma(n + 1) - torch.lgamma(count + 1) - torch.lgamma(n - count + 1)
    p = p.unsqueeze(1)
    return (ways + torch.xlogy(count, p) + torch.xlogy(n - count, 1.0 - p)).exp()


def _renewals(finished: Survival, window_s: float, points: int = 512) -> tuple[np.ndarray, np.ndarray]:
    """Times, and the mean number of programs that one actor has started up to each, including the one at time 0.

    Each duration is shared between the two nearest points of a grid so that its mean stays. A start at a point of the grid
    stands for a start within one step around it.
    """
    step = window_s / points
    times = finished.times.numpy() / step
    mass = -np.diff(finished.values.numpy(), prepend=1.0)
    inside = times < points
    times, mass = times[inside], mass[inside]
    below = np.floor(times).astype(int)
    share = np.zeros(points + 2)
    np.add.at(share, below, mass * (below + 1 - times))
    np.add.at(share, below + 1, mass * (times - below))
    again = 1.0 - min(share[0], 1.0 - 1e-9)
    starts = np.zeros(points + 1)
    starts[0] = 1.0 / again
    for k in range(1, points + 1):
        starts[k] = share[1 : k + 1] @ starts[k - 1 :: -1][:k] / again
    return (np.arange(points + 1) + 0.5) * step, starts.cumsum()


RuleMaker = Callable[[DurationMemory], CollectionRule]

_FORMS = (
    "'measured', 'timeout:600', 'timeout:600/0.5', 'window:120', 'window:120/even', 'first:96/128', 'staleness:2/30' or "
    "'staleness:2/30/5'"
)


def parse_rule(text: str) -> RuleMaker:
    """A function that makes the rule named by `text` from the durations seen so far.

    `measured` | `timeout:LIMIT_S[/SPREAD]` | `window:SECONDS[/even]` | `first:KEPT/STARTED` | `staleness:UPDATES/UPDATE_S[/SD_S]`

    Raises:
        ConfigError: `text` is none of these, or has impossible numbers.
    """
    name, _, rest = text.partition(":")
    parts = rest.split("/") if rest else []
    try:
        match name, parts:
            case "measured", []:
                return lambda memory: Measured(memory.until_lost())
            case "timeout", [limit, *spread] if len(spread) < 2:
                time_out = TimeOut(_positive(limit), float(spread[0]) if spread else 0.0)
                if not 0.0 <= time_out.spread < math.inf:
                    raise ValueError
                return lambda memory: time_out
            case "window", [length, *even] if even in ([], ["even"]):
                window_s = _positive(length)
                return lambda memory: Window(window_s, None if even else memory.until_finished())
            case "first", [kept, started]:
                b, n = int(kept), int(started)
                if not 1 <= b <= n:
                    raise ValueError
                return lambda memory: FirstOf(b, n, memory.until_finished())
            case "staleness", [updates, every, *deviation] if len(deviation) < 2:
                stale = Staleness(int(updates), _positive(every), float(deviation[0]) if deviation else 0.0)
                if stale.max_updates < 0 or not 0.0 <= stale.update_sd_s < math.inf:
                    raise ValueError
                return lambda memory: stale
    except ValueError:
        pass
    raise ConfigError(
        f"`duration_rule` is {text!r}; write how samples are collected as one of {_FORMS} (seconds; kept/started; "
        "updates/seconds between updates[/their standard deviation])."
    )


def _positive(text: str) -> float:
    number = float(text)
    if not 0.0 < number < math.inf:
        raise ValueError(text)
    return number


class InclusionModel:
    """Inclusion probabilities of a run, from a rule and the durations seen, including those of lost samples.

    All processes must observe the same durations, those of the global batch.

    Args:
        rule (`str`):
            Text for [`parse_rule`].
        memory (`int`, *optional*, defaults to `4096`):
            Number of newest durations from which the estimates are made.
    """

    def __init__(self, rule: str = "measured", memory: int = 4096):
        self._make = parse_rule(rule)
        self.memory = DurationMemory(memory)

    def observe(self, durations: torch.Tensor, lost: torch.Tensor | bool = False) -> None:
        """Learn of samples that finished or were lost, see [`DurationMemory`]."""
        self.memory.observe(durations, lost)

    def probability(self, durations: torch.Tensor) -> torch.Tensor:
        """Inclusion probabilities, shape `(B,)`, of samples that were included; 1 for those that never ran (NaN)."""
        seconds = durations.detach().to("cpu", torch.float64)
        known = ~torch.isnan(seconds)
        probabilities = torch.ones_like(seconds)
        rule = self._make(self.memory)
        if isinstance(rule, TimeOut) and rule.spread == 0.0:
            # A program that is stopped a moment after the limit is scored all the same, so it was included.
            seconds = seconds.clamp(max=rule.limit_s)
        probabilities[known] = rule.probability(seconds[known])
        return probabilities
