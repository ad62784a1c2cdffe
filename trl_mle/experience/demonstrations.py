"""From earlier outcomes to demonstrations: prompts with the completion that a policy is to imitate."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from trl_mle.errors import ExtractionError
from trl_mle.experience.chain_credit import chain_returns
from trl_mle.programs import extract_program
from trl_mle.special_tokens import escape_code
from trl_mle.types import Outcome, Program

Messages = list[dict[str, str]]

_THINKING = re.compile(r"</?think(?:ing)?>")
"""Tags that belong to a completion and open no turn."""


@dataclass(frozen=True)
class Attempt:
    """An earlier outcome, and what is known of its way there."""

    outcome: Outcome
    prompt_kind: str = "scratch"
    """`scratch`, `improve` or `debug`."""
    parent: int | None = None
    """Index, in the sequence of attempts, of the outcome that the prompt showed; `None` if it is not at hand."""
    prompt: Messages | None = None
    """The prompt as it was; `None` if it has to be built."""
    completion: str | None = None
    """The completion as it was; `None` if it has to be written from plan and program."""


@dataclass(frozen=True)
class Demonstration:
    """One row to learn from, and what it is worth."""

    task_id: str
    prompt_kind: str
    """What the prompt asks for: `scratch`, `improve`, `debug`, or `hindsight`."""
    prompt: Messages
    completion: str
    value: float
    """Return of the program, by which it is weighted within its task and kind of prompt."""

    @property
    def group(self) -> tuple[str, str]:
        """Demonstrations whose values are compared."""
        return self.task_id, self.prompt_kind


def demonstrations_of(
    attempts: Sequence[Attempt],
    prompt_of: Callable[[Outcome, Outcome | None], Messages | None],
    chain_discount: float = 0.0,
) -> list[Demonstration]:
    """The valid programs among `attempts`, each of them once for each prompt that it answers.

    Copies of a program count once, with the mean of their returns: a policy that has collapsed has written one program many
    times, and its weight must not be that of its copies.

    Args:
        attempts (sequence of [`Attempt`]):
            Earlier outcomes, parents before their children.
        prompt_of (callable):
            Outcome and its parent's outcome (`None` from scratch) -> prompt, for attempts without one. `None` leaves the attempt
            out.
        chain_discount (`float`, *optional*, defaults to `0.0`):
            Credit for what descendants gained, see [`chain_returns`].
    """
    returns = chain_returns(
        [attempt.outcome.reward for attempt in attempts],
        [attempt.parent for attempt in attempts],
        [attempt.outcome.kind == "valid" for attempt in attempts],
        chain_discount,
    )
    copies: dict[tuple[object, ...], list[float]] = {}
    first: dict[tuple[object, ...], tuple[Attempt, Messages, str]] = {}
    for attempt, value in zip(attempts, returns, strict=True):
        outcome = attempt.outcome
        if outcome.kind != "valid" or outcome.program is None or value is None:
            continue
        if attempt.completion is None:
            completion = completion_of(outcome.program)
        else:
            completion = None if opens_turn(attempt.completion) else attempt.completion
        if completion is None:
            continue
        key = (outcome.task_id, attempt.prompt_kind, attempt.parent, completion)
        if key in copies:
            copies[key].append(value)
            continue
        parent = None if attempt.parent is None else attempts[attempt.parent].outcome
        if attempt.prompt is None and parent is None and attempt.prompt_kind != "scratch":
            continue  # what its prompt showed is not at hand
        prompt = prompt_of(outcome, parent) if attempt.prompt is None else attempt.prompt
        if prompt is not None:
            copies[key], first[key] = [value], (attempt, prompt, completion)
    return [
        Demonstration(attempt.outcome.task_id, attempt.prompt_kind, prompt, completion, fmean(copies[key]))
        for key, (attempt, prompt, completion) in first.items()
    ]


def completion_of(program: Program) -> str | None:
    """Plan and program in the form in which a policy writes them, or `None` if no such text gives the program back.

    A program is refused if its text could open a turn of a chat template: it would end the completion that is imitated.
    """
    plan = f"{program.plan}\n\n" if program.plan else ""
    newline = "" if program.code.endswith("\n") else "\n"
    text = f"{plan}```python\n{program.code}{newline}```"
    if opens_turn(text):
        return None
    try:
        again = extract_program(text)
    except ExtractionError:
        return None
    return (
        text if again.code.rstrip("\n") == program.code.rstrip("\n") and again.plan == program.plan.strip() else None
    )


def opens_turn(text: str) -> bool:
    """Whether `text` holds what could be a token that opens or ends a turn."""
    plain = _THINKING.sub("", text)
    return escape_code(plain) != plain
