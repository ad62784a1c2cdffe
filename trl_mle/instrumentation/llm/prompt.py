"""The conversation that asks a model where a program reaches its milestones."""

from __future__ import annotations

import ast
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Literal, TypedDict

from trl_mle.instrumentation.llm.milestone_texts import instructions
from trl_mle.instrumentation.llm.plain_marks import as_plain_mark
from trl_mle.instrumentation.llm.quotes import statements_by_line
from trl_mle.parsing import parse_quietly
from trl_mle.types import MILESTONES

AnswerFormat = Literal["lines", "rewrite"]
_TEMPLATES = Path(__file__).parent / "templates"
_EXAMPLES = ("example_1.txt", "example_2.txt")
DEFAULT_MAX_TOKENS = {"lines": 500, "rewrite": 2048}
"""Longest answer in tokens: ten lines, or a whole program of 1,024 tokens with prints."""

ANSWER_LINES = (*MILESTONES, "validation_score", "training_score", "training_loss")
"""The lines of an answer. What is asked for first is found best, and the score on held-out data is worth most."""


class Message(TypedDict):
    """One turn of the conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


def build_messages(code: str, answer_format: AnswerFormat) -> list[Message]:
    """Instructions, two worked examples and the program `code`. Nothing in it is secret."""
    return [*_opening(answer_format), {"role": "user", "content": _question(code)}]


def prompt_version(answer_format: AnswerFormat) -> str:
    """Identifier of everything that is said beside the program; it changes when a word of it does."""
    return hashlib.sha256(json.dumps(_opening(answer_format)).encode()).hexdigest()[:12]


@cache
def _opening(answer_format: AnswerFormat) -> tuple[Message, ...]:
    messages: list[Message] = [{"role": "system", "content": instructions(answer_format)}]
    for name in _EXAMPLES:
        code, answer = example(name, answer_format)
        messages.append({"role": "user", "content": _question(code)})
        messages.append({"role": "assistant", "content": answer})
    return tuple(messages)


def _question(code: str) -> str:
    return f"The program:\n\n```python\n{code.rstrip()}\n```"


def example(name: str, answer_format: AnswerFormat) -> tuple[str, str]:
    """A worked example, (program, right answer): the template is the program with plain marks."""
    marked = (_TEMPLATES / name).read_text("utf-8")
    code: list[str] = []
    found: dict[str, int | str] = {}
    for line in marked.splitlines():
        mark = as_plain_mark(_statement(line))
        if mark is None:
            code.append(line)
        else:
            found.setdefault(mark.name, mark.variable or len(code))
    text = "\n".join(code) + "\n"
    if answer_format == "rewrite":
        return text, f"```python\n{marked.rstrip()}\n```"
    statements = statements_by_line(parse_quietly(text))
    return text, "\n".join(f"{name}: {_place(found.get(name), code, statements)}" for name in ANSWER_LINES)


def _place(place: int | str | None, code: list[str], statements: dict[int, ast.stmt]) -> str:
    """The variable, or the first line of the statement that ends in line `place`."""
    return code[statements[place].lineno - 1].strip() if isinstance(place, int) else place or "none"


def _statement(line: str) -> ast.stmt | None:
    try:
        body = parse_quietly(line.strip()).body
    except SyntaxError:
        return None
    return body[0] if body else None
