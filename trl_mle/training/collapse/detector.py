"""When a policy counts as collapsing: pure functions of three numbers per generation batch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

FIRST_BATCHES = 3
"""Generation batches whose median is the early value that later ones are compared with."""
SMOOTHING = 0.5
"""Weight of the newest batch in the moving average: a single batch that is out of line raises no alarm."""
NOISE_WIDTH = 5.0
"""Least fall of the smoothed reward that counts, in standard deviations of a batch's mean reward. The highest and the lowest
value of a smoothed series without a trend are about three apart within a hundred batches."""
NOISE_BATCHES = 4
"""Second differences of rewards from which the noise is estimated, at least. The fewer there are, the more a fall must be."""
NOISE_MEMORY = 32


@dataclass(frozen=True)
class Alarm:
    """A sign of collapse."""

    signal: str
    """`"entropy"`, `"distinct"`, `"reward"` or `"update"`."""
    message: str
    """What was seen, as a sentence."""


class Early:
    """A smoothed number in comparison with what it was in the first batches of the run."""

    def __init__(self) -> None:
        self.first: list[float] = []
        self.smoothed: float | None = None

    def observe(self, value: float) -> float:
        """Add the value of a batch. Returns smoothed value / early value; 1 while the early value is not known."""
        self.smoothed = _smooth(self.smoothed, value)
        if len(self.first) < FIRST_BATCHES:
            self.first.append(value)
            return 1.0
        return self.ratio

    @property
    def ratio(self) -> float:
        """Smoothed value / early value."""
        early = median(self.first) if self.first else 0.0
        if self.smoothed is None or len(self.first) < FIRST_BATCHES or early <= 0:
            return 1.0
        return self.smoothed / early


class Gain:
    """How much of what a reward has gained since the beginning of the run is lost again."""

    def __init__(self) -> None:
        self.first: list[float] = []
        self.smoothed: float | None = None
        self.best: float | None = None
        self.last: list[float] = []
        self.bends: list[float] = []

    def observe(self, value: float) -> float:
        """Add the mean reward of a batch. Returns the part of the gain that is lost, 0 if the fall may be noise."""
        self.last = [*self.last, value][-3:]
        if len(self.last) == 3:
            self.bends = [*self.bends, abs(self.last[0] - 2 * self.last[1] + self.last[2])][-NOISE_MEMORY:]
        if len(self.first) < FIRST_BATCHES:
            self.first.append(value)
        self.smoothed = _smooth(self.smoothed, value)
        if self.best is None or self.smoothed > self.best:
            self.best = self.smoothed
        fall, gain = self.best - self.smoothed, self.best - min(self.first)
        if len(self.bends) < NOISE_BATCHES or fall <= NOISE_WIDTH * self._noise() or gain <= 0:
            return 0.0
        return fall / gain

    def _noise(self) -> float:
        """Standard deviation of a batch's mean reward, and more if it is known from few batches.

        A trend has no part in second differences, whose standard deviation is `sqrt(6)` times as large. The fall itself has
        little part in their median.
        """
        return median(self.bends) * 1.4826 / math.sqrt(6) * (1 + NOISE_BATCHES / len(self.bends))


class CollapseDetector:
    """Raises an alarm when entropy, distinct programs or reward are far from what they were in this run.

    Entropy and distinct programs are smoothed and compared with the first batches of the same run. They fall before the valid
    share does. The reward notices a policy that one update has broken, which neither of them foresees. The size of an update
    foresees that, before another program runs.

    Args:
        entropy, distinct, reward_drop, update_kl (`float`, *optional*):
            Thresholds, see [`CollapseSettings`]; `None` for no such alarm.
    """

    def __init__(
        self, entropy: float | None, distinct: float | None, reward_drop: float | None, update_kl: float | None = None
    ):
        self.update_kl = update_kl
        self.thresholds = {"entropy": entropy, "distinct": distinct}
        self.reward_drop = reward_drop
        self.early = {"entropy": Early(), "distinct": Early()}
        self.gain = Gain()
        self.lost = 0.0
        self.on: set[str] = set()
        """Signals whose alarm is on."""

    def observe(self, entropy: float | None, distinct: float | None, reward: float | None) -> list[Alarm]:
        """Add a generation batch. Values that are missing or not finite change nothing.

        Args:
            entropy (`float`, *optional*):
                Mean entropy per token, in nats.
            distinct (`float`, *optional*):
                Share of distinct programs, from 0 to 1.
            reward (`float`, *optional*):
                Mean reward.

        Returns:
            Alarms that were off before this batch.
        """
        raised = []
        for name, value in (("entropy", entropy), ("distinct", distinct)):
            threshold = self.thresholds[name]
            if not _is_number(value):
                continue
            ratio = self.early[name].observe(float(value))  # type: ignore[arg-type]  # a number, as was asked
            if threshold is not None and self._turned_on(name, ratio < threshold):
                raised.append(Alarm(name, _MESSAGES[name].format(share=ratio)))
        if _is_number(reward):
            self.lost = self.gain.observe(float(reward))  # type: ignore[arg-type]
            if self.reward_drop is not None and self._turned_on("reward", self.lost > self.reward_drop):
                raised.append(Alarm("reward", _MESSAGES["reward"].format(share=self.lost)))
        return raised

    def observe_update(self, kl: float | None) -> list[Alarm]:
        """Add an optimizer step. Returns an alarm for each step that goes too far: what it does to the policy is done.

        Args:
            kl (`float`, *optional*):
                KL(policy before || policy after), in nats per token. What is no number is too far.
        """
        if kl is None or self.update_kl is None or kl <= self.update_kl:
            return []
        return [Alarm("update", f"one update has moved the policy by {kl:.2g} nats per token")]

    def _turned_on(self, name: str, is_on: bool) -> bool:
        """Remember whether the alarm is on. Returns whether it was off before."""
        was_on = name in self.on
        (self.on.add if is_on else self.on.discard)(name)
        return is_on and not was_on

    def metrics(self) -> dict[str, float]:
        """Metrics of the newest batch, under `collapse/`."""
        return {
            "collapse/entropy_ratio": self.early["entropy"].ratio,
            "collapse/distinct_ratio": self.early["distinct"].ratio,
            "collapse/reward_lost": self.lost,
            "collapse/alarm": float(bool(self.on)),
        }

    def margin(self) -> float:
        """Least of ratio / threshold over entropy and distinct programs: below 1 an alarm is on."""
        return min(
            (self.early[name].ratio / value for name, value in self.thresholds.items() if value is not None),
            default=math.inf,
        )

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {
            "early": {name: dict(vars(early)) for name, early in self.early.items()},
            "gain": dict(vars(self.gain)),
            "lost": self.lost,
            "on": sorted(self.on),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict()`."""
        for name, values in state["early"].items():
            vars(self.early[name]).update(values)
        vars(self.gain).update(state["gain"])
        self.lost, self.on = state["lost"], set(state["on"])


_MESSAGES = {
    "entropy": "the entropy per token is {share:.0%} of what it was in the first batches",
    "distinct": "the share of distinct programs is {share:.0%} of what it was in the first batches",
    "reward": "the mean reward has lost {share:.0%} of what the run had gained",
}


def _smooth(average: float | None, value: float) -> float:
    return value if average is None else average + SMOOTHING * (value - average)


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
