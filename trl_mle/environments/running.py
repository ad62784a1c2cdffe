"""The books of an episode that goes on: what is spent, which submission counts, and what the episode is worth so far."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import Any

from trl_mle.config import EpisodeBudget
from trl_mle.environments.episode import Episode, Turn
from trl_mle.errors import SandboxUnavailableError
from trl_mle.tasks import Task
from trl_mle.types import Outcome

LEAST_S = 0.05
"""Seconds of execution below which no program is started: it could only be stopped."""
NO_TOOL_CALL = "no_tool_call"
"""Reason for the failure of an episode in which no tool was called."""


class RunningEpisode:
    """An episode from `reset` on. Calls of its tools hold `lock`, so that one program runs at a time.

    An environment begins a new one with each `reset`. A call that is still running then belongs to the old one and changes
    nothing of the new one.

    Args:
        task ([`Task`]):
            What is to be solved.
        group (hashable):
            Programs of the rollouts of one prompt take turns with those of others.
        budget ([`EpisodeBudget`]):
            What the episode may use.
        limit_s (`float`):
            Wall-clock limit of one program, in seconds.
        nothing ([`Outcome`]):
            Outcome of an episode without any call.
    """

    def __init__(self, task: Task, group: Hashable, budget: EpisodeBudget, limit_s: float, nothing: Outcome):
        assert nothing.reward is not None
        self.task, self.group = task, group
        self.lock = asyncio.Lock()
        self.runs_left = budget.runs
        self.seconds_left = budget.seconds_for(limit_s)
        self.valid: Outcome | None = None
        """The last valid submission."""
        self.valid_run: int | None = None
        """Number of the program that made it, from 1."""
        self.files: Mapping[str, bytes] = {}
        """Name -> content of the files that the last program left for the next one."""
        self.run = 0
        """Number of the last program, from 1."""
        self._nothing = nothing
        self._initial_value = nothing.reward
        self._failed: Outcome | None = None
        self._fault: Outcome | None = None
        self._unavailable: SandboxUnavailableError | None = None
        self._submitted = False
        self._turns: list[Turn] = []

    @property
    def refusal(self) -> str | None:
        """Why no program may run any more: `submitted`, `fault`, `runs` or `seconds`; `None` if one may."""
        if self.end is not None:
            return self.end
        if self.runs_left <= 0:
            return "runs"
        return "seconds" if self.seconds_left < LEAST_S else None

    @property
    def end(self) -> str | None:
        """What has ended the episode: `submitted` or `fault`; `None` if it goes on."""
        return "fault" if self._fault is not None else "submitted" if self._submitted else None

    @property
    def outcome(self) -> Outcome:
        """The outcome of the episode if it ended here; see [`Episode`]."""
        return self._fault or self.valid or self._failed or self._nothing

    def take_run(self) -> None:
        """Count a program, before it runs."""
        self.run += 1
        self.runs_left -= 1

    def take_unreadable(self, outcome: Outcome) -> None:
        """Take in a call whose argument holds no program. Its reason stands for the episode if no program runs at all."""
        self._nothing = outcome

    def take_outcome(self, outcome: Outcome, unavailable: SandboxUnavailableError | None = None) -> None:
        """Take in the outcome of a program."""
        if outcome.kind == "fault":
            self._fault, self._unavailable, self.files = outcome, unavailable, {}
            return
        self.seconds_left = max(0.0, self.seconds_left - (outcome.duration_s or 0.0))
        if outcome.execution is not None:
            # After the last program, nobody reads them: an environment may be kept long after its episode.
            self.files = outcome.execution.files if self.refusal is None else {}
            outcome = replace(outcome, execution=replace(outcome.execution, files={}))
        if outcome.kind == "valid":
            self.valid, self.valid_run = outcome, self.run  # with its submission; turns are kept without one
        elif self._failed is None or _milestones(outcome) >= _milestones(self._failed):
            self._failed = outcome

    def take_submission(self) -> None:
        """End the episode with the last valid submission."""
        self._submitted, self.files = True, {}

    def add_turn(
        self,
        tool: str,
        arguments: Mapping[str, Any],
        observation: str,
        outcome: Outcome | None = None,
        refused: str | None = None,
    ) -> str:
        """Enter a call into the books. Returns its observation."""
        kept = None if outcome is None else _without_files(outcome)
        self._turns.append(Turn(tool, arguments, observation, self.outcome.reward, kept, refused))
        return observation

    def record(self) -> Episode:
        """The episode so far."""
        return Episode(
            task_id=self.task.id,
            turns=tuple(self._turns),
            outcome=self.outcome,
            initial_value=self._initial_value,
            submitted=self._submitted,
            unavailable=self._unavailable,
            over=self.refusal,
        )


def _without_files(outcome: Outcome) -> Outcome:
    """`outcome` without the content of its submission and its files, which may be large, and which an episode needs once."""
    if outcome.execution is None:
        return outcome
    return replace(outcome, execution=replace(outcome.execution, submission=None, files={}))


def _milestones(outcome: Outcome) -> int:
    return 0 if outcome.execution is None else len(outcome.execution.milestones)
