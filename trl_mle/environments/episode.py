"""What happened in a rollout: one `Turn` per tool call that reached the environment, and the `Episode` that they make up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trl_mle.errors import SandboxUnavailableError
from trl_mle.types import Outcome


@dataclass(frozen=True)
class Turn:
    """One tool call that reached the environment."""

    tool: str
    """`run_program` or `submit`."""
    arguments: Mapping[str, Any]
    """Arguments as the policy gave them."""
    observation: str
    """The tool's answer."""
    value: float | None
    """Reward of the episode if it ended after this turn; `None` after an infrastructure fault."""
    outcome: Outcome | None = None
    """Outcome of the program, without the content of its submission; `None` if the call ran none."""
    refused: str | None = None
    """Why the call did nothing, as a short identifier: `submitted`, `fault`, `runs`, `seconds` (what had ended the episode, or was
    spent), `no_submission`, or a reason of `ExtractionError`. `None` if it did what it is for."""

    @property
    def seconds(self) -> float | None:
        """Wall-clock seconds of the program; `None` if none ran, or nothing is known about it."""
        return None if self.outcome is None else self.outcome.duration_s

    @property
    def cpu_seconds(self) -> float | None:
        """CPU seconds of the program; `None` as with `seconds`."""
        execution = None if self.outcome is None else self.outcome.execution
        return None if execution is None else execution.cpu_s

    @property
    def is_censored(self) -> bool:
        """Whether the program was stopped at a time limit, so that its seconds are a lower bound."""
        return self.outcome is not None and self.outcome.kind == "timeout"


@dataclass(frozen=True)
class Episode:
    """A rollout so far: its turns, and its outcome if it ended here."""

    task_id: str
    turns: tuple[Turn, ...]
    """In the order in which the environment took the calls."""
    outcome: Outcome
    """That of the last valid submission. Without one, the program that reached most milestones, the later one of equals; a
    failure without a program if none ran. After an infrastructure fault, that fault."""
    initial_value: float
    """Reward of an episode without any call."""
    submitted: bool = False
    """Whether `submit` took a valid submission."""
    unavailable: SandboxUnavailableError | None = None
    """Why no sandbox can work on this machine, if that is the fault."""
    over: str | None = None
    """Why no program may run any more: `submitted`, `fault`, `runs` or `seconds`. `None` while one may."""

    @property
    def fault(self) -> str | None:
        """The infrastructure fault that ended the episode, in words."""
        return self.outcome.fault

    @property
    def programs(self) -> tuple[Outcome, ...]:
        """Outcomes of the programs, in order."""
        return tuple(turn.outcome for turn in self.turns if turn.outcome is not None)

    @property
    def seconds(self) -> float | None:
        """Wall-clock seconds of all programs together; `None` if none ran."""
        return total(turn.seconds for turn in self.turns)

    @property
    def cpu_seconds(self) -> float | None:
        """CPU seconds of all programs together; `None` if none ran."""
        return total(turn.cpu_seconds for turn in self.turns)


def total(values: Any) -> float | None:
    """Sum of those `values` that are known; `None` if none is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None
