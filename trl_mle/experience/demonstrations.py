"""From earlier outcomes to demonstrations: prompts with the completion that a policy is to imitate."""

from __future__ import annotations

from dataclasses import dataclass

from trl_mle.errors import ExtractionError
from trl_mle.programs import extract_program
from trl_mle.special_tokens import escape_code
from trl_mle.types import Program

Messages = list[dict[str, str]]


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


def completion_of(program: Program) -> str | None:
    """Plan and program in the form in which a policy writes them, or `None` if no such text gives the program back.

    A program is refused if its text could open a turn of a chat template: it would end the completion that is imitated.
    """
    plan = f"{program.plan}\n\n" if program.plan else ""
    newline = "" if program.code.endswith("\n") else "\n"
    text = f"{plan}```python\n{program.code}{newline}```"
    if escape_code(text) != text:
        return None
    try:
        again = extract_program(text)
    except ExtractionError:
        return None
    return (
        text if again.code.rstrip("\n") == program.code.rstrip("\n") and again.plan == program.plan.strip() else None
    )
