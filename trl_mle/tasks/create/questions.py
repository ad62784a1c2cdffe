"""What the table leaves open: a question for a terminal, or an error that names the options."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from trl_mle.errors import TaskError


@dataclass(frozen=True)
class Choice:
    """One answer."""

    label: str
    """What is done."""
    flags: str
    """The same as options of `trl-mle tasks create`."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The same as arguments of `create_task`. A tuple is added to what the argument holds."""


@dataclass(frozen=True)
class Question:
    """Something that the table does not decide."""

    text: str
    """A sentence with its numbers."""
    choices: tuple[Choice, ...]

    def sentence(self) -> str:
        """The question with the options to write."""
        ways = [f"`{choice.flags}` ({choice.label})" for choice in self.choices]
        return f"{self.text} Write {' or '.join([', '.join(ways[:-1]), ways[-1]] if len(ways) > 1 else ways)}."


def raise_open(questions: Iterable[Question], source: str) -> None:
    """Raise `TaskError` with all `questions`, if there are any."""
    sentences = [question.sentence() for question in questions]
    if sentences:
        raise TaskError(f"{source}: {' '.join(sentences)}")
