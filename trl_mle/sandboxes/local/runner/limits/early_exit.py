"""Early exit of a program while it runs: what it has printed so far, given to the watch of its progress."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..protocol import ProgramLimits
from .monitor import LimitPassed
from .progress import ProgressWatch, may_leave_loops


class Output(Protocol):
    """Output of one stream so far, as `pipes.CappedOutput` collects it."""

    content: bytearray


class EarlyExit:
    """Stops a program whose progress is hopeless. Does nothing unless `ProgramLimits.early_exit` is set.

    Args:
        limits (`ProgramLimits`): those of the program.
        source (`str`): the program as it was written, without marks.
        outputs (sequence of `Output`): its streams.
    """

    def __init__(self, limits: ProgramLimits, source: str, outputs: Sequence[Output]):
        self._limits = limits
        active = limits.early_exit > 0 and not may_leave_loops(source)
        self._watches = [ProgressWatch(limits.wall_s, max(1.0, limits.early_exit)) for _ in outputs] if active else []
        self._outputs = outputs
        self._read = [0] * len(outputs)
        self._stopped = False

    def check(self, elapsed_s: float) -> LimitPassed | None:
        """A time-out if the program is hopeless `elapsed_s` seconds after its start."""
        for index, watch in enumerate(self._watches):
            content = self._outputs[index].content
            new, self._read[index] = bytes(content[self._read[index] :]), len(content)
            if watch.feed(new, elapsed_s):
                self._stopped = True
                return LimitPassed(
                    "timeout",
                    f"after {elapsed_s:.3g} s, its printed progress shows that it needs at least {watch.needed_s:.3g} s, and its "
                    f"limit is {self._limits.wall_s:g} s; its time counts as the limit",
                )
        return None

    def spared_s(self, wall_s: float) -> float:
        """Seconds up to the limit that a program which was stopped here after `wall_s` seconds was spared; 0 for any other.

        They are added to its duration, as if it had run to its limit. A program that prints false progress to be stopped early
        then has the duration, and the weight, of a time-out.
        """
        return max(0.0, self._limits.wall_s - wall_s) if self._stopped else 0.0
