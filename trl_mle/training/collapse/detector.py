"""When a policy counts as collapsing: pure functions of four numbers per generation batch, and one per update."""

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
LEAST_VALID_FALL = 0.2
"""Least fall of the valid share that counts. A policy of which few programs are valid has next to nothing to lose."""
UPDATE_BATCHES = 2
"""Batches of the policy after an update that went too far which are judged one by one, without smoothing."""
ACTING = ("reward", "valid")
"""Signals that training stops or goes back for. The others foresee a break in some runs, and pass without one in most."""


@dataclass(frozen=True)
class Alarm:
    """A sign of collapse."""

    signal: str
    """`"entropy"`, `"distinct"`, `"reward"`, `"valid"` or `"update"`."""
    message: str
    """What was seen, as a sentence."""

    @property
    def acts(self) -> bool:
        """Whether the policy is broken, and not only in danger."""
        return self.signal in ACTING


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
    """How much of what a number has gained is lost again.

    Args:
        from_zero (`bool`, *optional*, defaults to `False`):
            Whether all of the best value is the gain, as for a share. By default it is what came since the first batches.
        least (`float`, *optional*, defaults to `0.0`):
            Least fall that counts.
    """

    def __init__(self, from_zero: bool = False, least: float = 0.0) -> None:
        self.from_zero = from_zero
        self.least = least
        self.first: list[float] = []
        self.smoothed: float | None = None
        self.best: float | None = None
        self.last: list[float] = []
        self.bends: list[float] = []

    def observe(self, value: float) -> float:
        """Add the value of a batch. Returns the part of the gain that is lost, 0 if the fall may be noise."""
        self.last = [*self.last, value][-3:]
        if len(self.last) == 3:
            self.bends = [*self.bends, abs(self.last[0] - 2 * self.last[1] + self.last[2])][-NOISE_MEMORY:]
        if len(self.first) < FIRST_BATCHES:
            self.first.append(value)
        self.smoothed = _smooth(self.smoothed, value)
        if self.best is None or self.smoothed > self.best:
            self.best = self.smoothed
        fall = self.best - self.smoothed
        if len(self.bends) < NOISE_BATCHES or fall <= NOISE_WIDTH * self._noise():
            return 0.0
        return self._share(fall)

    @property
    def lost_at_once(self) -> float:
        """The part of the gain that the newest batch alone has lost, noise or not."""
        return 0.0 if self.best is None else max(0.0, self._share(self.best - self.last[-1]))

    def _share(self, fall: float) -> float:
        gain = (self.best or 0.0) - (0.0 if self.from_zero else min(self.first))
        return fall / gain if gain > 0 and fall >= self.least else 0.0

    def _noise(self) -> float:
        """Standard deviation of a batch's value, and more if it is known from few batches.

        A trend has no part in second differences, whose standard deviation is `sqrt(6)` times as large. The fall itself has
        little part in their median.
        """
        return median(self.bends) * 1.4826 / math.sqrt(6) * (1 + NOISE_BATCHES / len(self.bends))


class CollapseDetector:
    """Raises an alarm when entropy, distinct programs, reward or valid share are far from what they were in this run.

    All are smoothed. Entropy and distinct programs are compared with the first batches of the same run: they tell that a policy
    has converged, which most survive. Reward and valid share notice a policy that is broken. An update that goes too far
    is no proof of that, but then one bad batch is enough.

    Args:
        entropy, distinct, reward_drop, update_kl, valid_drop (`float`, *optional*):
            Thresholds, see [`CollapseSettings`]; `None` for no such alarm.
        update_batches (`int`, *optional*, defaults to `2`):
            Batches after an update that went too far, each of which is judged by itself.
    """

    def __init__(
        self,
        entropy: float | None,
        distinct: float | None,
        reward_drop: float | None,
        update_kl: float | None = None,
        valid_drop: float | None = None,
        update_batches: int = UPDATE_BATCHES,
    ):
        self.update_kl = update_kl
        self.update_batches = update_batches
        self.thresholds = {"entropy": entropy, "distinct": distinct}
        self.drops = {"reward": reward_drop, "valid": valid_drop}
        self.early = {"entropy": Early(), "distinct": Early()}
        self.gains = {"reward": Gain(), "valid": Gain(from_zero=True, least=LEAST_VALID_FALL)}
        self.lost = {"reward": 0.0, "valid": 0.0}
        self.suspected = 0
        """Batches to come that are judged by themselves, because of an update that went too far."""
        self.on: set[str] = set()
        """Signals whose alarm is on."""

    def observe(
        self, entropy: float | None, distinct: float | None, reward: float | None, valid: float | None = None
    ) -> list[Alarm]:
        """Add a generation batch. Values that are missing or not finite change nothing.

        Args:
            entropy (`float`, *optional*):
                Mean entropy per token, in nats.
            distinct (`float`, *optional*):
                Share of distinct programs, from 0 to 1.
            reward (`float`, *optional*):
                Mean reward.
            valid (`float`, *optional*):
                Share of valid programs, from 0 to 1.

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
        for name, value in (("reward", reward), ("valid", valid)):
            drop, gain = self.drops[name], self.gains[name]
            if not _is_number(value):
                continue
            self.lost[name] = gain.observe(float(value))  # type: ignore[arg-type]
            lost = max(self.lost[name], gain.lost_at_once) if self.suspected else self.lost[name]
            if drop is not None and self._turned_on(name, lost > drop):
                raised.append(Alarm(name, _MESSAGES[name].format(share=lost)))
        self.suspected = max(0, self.suspected - 1)
        return raised

    def observe_update(self, kl: float | None) -> list[Alarm]:
        """Add an optimizer step, after the batch that it was made on. Returns an alarm for each step that goes too far.

        Args:
            kl (`float`, *optional*):
                KL(policy before || policy after), in nats per token. What is no number is too far.
        """
        if kl is None or self.update_kl is None or kl <= self.update_kl:
            return []
        self.suspected = self.update_batches
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
            **{f"collapse/{name}_lost": lost for name, lost in self.lost.items()},
            "collapse/alarm": float(bool(self.on)),
        }

    @property
    def is_broken(self) -> bool:
        """Whether an alarm is on that training stops or goes back for."""
        return any(name in self.on for name in ACTING)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {
            "early": {name: dict(vars(early)) for name, early in self.early.items()},
            "gains": {name: dict(vars(gain)) for name, gain in self.gains.items()},
            "lost": dict(self.lost),
            "suspected": self.suspected,
            "on": sorted(self.on),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict()`, also of a version that did not know of the valid share."""
        for name, values in state["early"].items():
            vars(self.early[name]).update(values)
        for name, values in (state["gains"] if "gains" in state else {"reward": state["gain"]}).items():
            vars(self.gains[name]).update(values)
        self.lost.update(state["lost"] if isinstance(state["lost"], dict) else {"reward": state["lost"]})
        self.suspected, self.on = state.get("suspected", 0), set(state["on"])


_MESSAGES = {
    "entropy": "the entropy per token is {share:.0%} of what it was in the first batches",
    "distinct": "the share of distinct programs is {share:.0%} of what it was in the first batches",
    "reward": "the mean reward has lost {share:.0%} of what the run had gained",
    "valid": "the valid share has lost {share:.0%} of its best",
}


def _smooth(average: float | None, value: float) -> float:
    return value if average is None else average + SMOOTHING * (value - average)


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
