"""Which groups may start, and which of the scored ones go to the learner: so that none becomes too old and none is discarded.

TRL starts as much as it can and drops what has become too old, so that slow programs are lost. Here staleness is bounded by
admission, as in AReaL (arXiv 2505.24298) and in tinker-cookbook's pacing: no more work is started than can be trained on within
`max_staleness`, and what was started is trained on.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class PacingSettings:
    """How the learner takes samples; what the child process of the rollouts has to know of it."""

    max_staleness: int
    """Versions of the policy that may come between the start of a sample and the update that trains on it."""
    group_size: int
    """Samples of a group, if no conversation is split."""
    samples_per_update: int
    """Samples of an optimizer step: all processes, all micro-batches. If not `exact`, the fewest that one can have."""
    micro_batches: int = 1
    """Micro-batches of an optimizer step. The learner takes one ahead."""
    updates_per_version: int = 1
    """Optimizer steps from one version of the policy to the next (`weight_sync_steps`)."""
    updates_before: int = 0
    """Optimizer steps since the last new version when the run begins or is resumed."""
    exact: bool = True
    """Whether every step has `samples_per_update` samples. With `token_budget` their number varies, and is estimated."""
    lossy: bool = False
    """Whether nothing is paced, and what is too old is lost."""

    @property
    def is_tight(self) -> bool:
        """Whether a sample may become one update too old, because `max_staleness` lets in less than a group and what is taken
        ahead."""
        ahead = math.ceil(self.samples_per_update / self.micro_batches)
        per_version = self.samples_per_update * self.updates_per_version
        return self.max_staleness * per_version < ahead + self.group_size - 1


@dataclass
class _Pending:
    """A group that has started and has not gone to the learner."""

    version: int
    size: int
    samples: Sequence[Any] | None = None


class Pacing:
    """Admission and order of groups, as a function of what has started, finished and been taken. It knows no clock.

    Samples are counted in the order in which they go to the learner. The `i`-th is trained on at a version that is known from
    `i`, so a group that started at version `v` has a deadline: a count of samples up to which it must have gone. Groups go as they
    finish, the oldest first. A finished one has to wait if an older, unfinished one could then miss its deadline. A new one starts
    if it can meet its own deadline behind all that have started, or if the learner could not make its next update without it.

    - Nothing is discarded, whatever the durations.
    - No sample is older than `max_staleness`, if `exact` and not [`PacingSettings.is_tight`].
    - The run goes on as long as every program ends: the oldest group never waits for another one.

    Args:
        settings ([`PacingSettings`]):
            How the learner takes samples.
        version (`int`):
            Version of the policy when the run begins.
    """

    def __init__(self, settings: PacingSettings, version: int):
        self.settings = settings
        self._version = version
        self._per_version = settings.samples_per_update * settings.updates_per_version
        self._begin = -settings.updates_before * settings.samples_per_update
        """Count of samples at which the present version began to train."""
        self._ahead = math.ceil(settings.samples_per_update / settings.micro_batches)
        self._taken = 0
        self._released = 0
        self._pending: dict[int, _Pending] = {}  # the oldest first
        self._seen: deque[int] = deque(maxlen=8)  # samples of the newest versions
        self._sizes: deque[int] = deque([settings.group_size], maxlen=16)

    def observe(self, version: int, taken: int) -> None:
        """The policy has this `version`, and the learner has taken so many samples."""
        self._taken = taken
        passed = version - self._version
        if passed <= 0:
            return
        self._version = version
        if self.settings.exact:
            self._begin += passed * self._per_version
            return
        begin = max(taken - self._ahead, self._begin + 1)
        self._seen.append(max(1, (begin - self._begin) // passed))
        # The smallest, because fewer samples per version mean that more versions pass until a sample is trained on.
        self._per_version = min(self._seen)
        self._ahead = math.ceil(self._per_version / (self.settings.micro_batches * self.settings.updates_per_version))
        self._begin = begin

    def may_start(self) -> bool:
        """Whether one more group may start now."""
        reserved = self._released + sum(pending.size for pending in self._pending.values())
        needed = self._next_begin + self._ahead
        if not self.settings.exact:
            # A learner that has taken all there is wants more, whatever the estimate says.
            needed = max(needed, self._taken + 1)
        return reserved < needed or reserved + self._expected <= self._deadline(self._version)

    def start(self, group: int) -> None:
        """A group starts, with the present version of the policy."""
        self._pending[group] = _Pending(self._version, self._expected)

    def version_of(self, group: int) -> int:
        """Version of the policy at which a group started; the present one for a group that is not known, which starts now."""
        if group not in self._pending:
            self.start(group)
        return self._pending[group].version

    def has_started(self, group: int) -> bool:
        """Whether a group has started and has not gone to the learner."""
        return group in self._pending

    @property
    def stands_still(self) -> bool:
        """Whether finished groups are held back until an older one has finished."""
        return any(pending.samples is not None for pending in self._pending.values())

    def finish(self, group: int, samples: Sequence[Any]) -> list[Any]:
        """A group has its samples, none or more. Returns what goes to the learner now, in order: of any groups, or nothing."""
        self.version_of(group)
        self._pending[group].samples = samples
        self._pending[group].size = len(samples)
        self._sizes.append(len(samples))
        released: list[Any] = []
        while (ready := self._next_ready()) is not None:
            goes = self._pending.pop(ready).samples or ()
            self._released += len(goes)
            released.extend(goes)
        return released

    @property
    def _expected(self) -> int:
        """Samples to reckon with for a group that runs. Those that ended last may all be empty, because these end first."""
        return max(self.settings.group_size, *self._sizes)

    @property
    def _next_begin(self) -> int:
        """Count of samples at which the next version begins to train."""
        end = self._begin + self._per_version
        return end if self.settings.exact else max(end, self._taken - self._ahead)

    def _deadline(self, version: int) -> int:
        """Count of samples within which a group of this version must have gone to the learner."""
        return self._next_begin + (version + self.settings.max_staleness - self._version) * self._per_version

    def _next_ready(self) -> int | None:
        """The oldest finished group without which all older ones can still meet their deadlines."""
        older: list[_Pending] = []
        for group, pending in self._pending.items():
            if pending.samples is not None and self._fits(older, pending.size):
                return group
            older.append(pending)
        return None

    def _fits(self, older: list[_Pending], size: int) -> bool:
        end = self._released + size
        for pending in older:
            end += pending.size
            if end > self._deadline(pending.version):
                return False
        return True


def lost_after(durations: Sequence[float | None], stale_after_s: float | None) -> list[float]:
    """Seconds after which each sample of a group is lost if it is dropped as too old, as `inverse_inclusion` counts them.

    A group reaches the learner as a whole. If another program of the group takes longer than `stale_after_s`, the sample is lost
    whatever its own duration: after 0 seconds. Otherwise it is lost if its own program takes longer than that. So the time of
    the loss does not depend on the sample's own duration, as the estimate requires.

    Args:
        durations (sequence of `float`):
            Seconds of the group's programs; `None` or NaN for one that never ran.
        stale_after_s (`float`, *optional*):
            Seconds from the start of the programs until the group was too old; `None` if it was not when they had ended. A sample
            that becomes too old later, in the queue, is lost for its duration if it is the slowest of its group.
    """
    seconds = [0.0 if value is None or math.isnan(value) else value for value in durations]
    result = []
    for place, own in enumerate(seconds):
        slowest_other = max(seconds[:place] + seconds[place + 1 :], default=0.0)
        if stale_after_s is None:
            result.append(own if own >= slowest_other else 0.0)
        else:
            result.append(min(own, max(stale_after_s, 0.0)) if slowest_other <= stale_after_s else 0.0)
    return result
