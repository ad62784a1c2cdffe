"""Sandboxes whose answers a test writes: the whole protocol, without a process."""

from __future__ import annotations

from dataclasses import replace

from trl_mle.sandboxes.base import default_limits
from trl_mle.types import Execution, Limits, TaskSpec


class SandboxDouble:
    """What a [`Sandbox`] offers except `run`. It opens at once, has one worker and the limits of its two settings."""

    workers = 1
    wall_s: float | None = None
    memory_bytes: int | None = None

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc_info):
        return None

    def limits_for(self, task: TaskSpec) -> Limits:
        return default_limits(task, self.wall_s, self.memory_bytes)

    def overhead_s(self, task: TaskSpec, limits: Limits) -> float:
        return 0.0

    def take_metrics(self) -> dict[str, float]:
        return {}

    def describe(self) -> str:
        return "a double"


class Scripted(SandboxDouble):
    """Gives its answers in turn, and the last one again and again: an `Execution`, or an exception to raise."""

    workers = 64

    def __init__(self, *answers):
        self.answers = list(answers)
        self.calls = 0
        self.limits: list[Limits | None] = []
        """The limits of each call."""

    async def run(self, code, task, limits=None, *, source=None, group=None, files=None):
        self.calls += 1
        self.limits.append(limits)
        reply = self.answers[min(self.calls, len(self.answers)) - 1]
        if isinstance(reply, Exception):
            raise reply
        return reply


def execution(status="ok", submission=None, **changes) -> Execution:
    values = {"exit_code": 0, "wall_s": 2.0, "cpu_s": 1.5, "max_rss_bytes": 10, "stdout": "", "stderr": ""}
    return Execution(status=status, submission=submission, **{**values, **changes})


class Repeating(Scripted):
    """Gives its answers in turn, again and again. Each program prints its own text, marks included."""

    async def run(self, code, task, limits=None, *, source=None, group=None, files=None):
        self.calls += 1
        return replace(self.answers[self.calls % len(self.answers)], stdout=code)
