"""The conversation that asks a model where a program reaches its milestones."""

from __future__ import annotations

import ast
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Literal, TypedDict

from trl_mle.instrumentation.insertion import split_lines
from trl_mle.instrumentation.llm.plain_marks import as_plain_mark
from trl_mle.parsing import parse_quietly
from trl_mle.types import METRICS, MILESTONES

AnswerFormat = Literal["lines", "rewrite"]
_TEMPLATES = Path(__file__).parent / "templates"
_EXAMPLES = ("example_1.txt", "example_2.txt")
DEFAULT_MAX_TOKENS = {"lines": 200, "rewrite": 2048}
"""Longest answer in tokens: ten short lines, or a whole program of 1,024 tokens with prints."""


class Message(TypedDict):
    """One turn of the conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


def build_messages(code: str, answer_format: AnswerFormat) -> list[Message]:
    """Instructions, two worked examples and the program `code`. Nothing in it is secret."""
    return [*_opening(answer_format), {"role": "user", "content": _question(code, answer_format)}]


def prompt_version(answer_format: AnswerFormat) -> str:
    """Identifier of everything that is said beside the program; it changes when a word of it does."""
    return hashlib.sha256(json.dumps(_opening(answer_format)).encode()).hexdigest()[:12]


def numbered(code: str) -> str:
    """The lines of `code` as `1| import numpy`, counted as the parser counts them."""
    lines = [line.rstrip("\r\n") for line in split_lines(code.removeprefix("\ufeff"))]
    width = len(str(len(lines)))
    return "\n".join(f"{number:{width}}| {line}" for number, line in enumerate(lines, start=1))


@cache
def _opening(answer_format: AnswerFormat) -> tuple[Message, ...]:
    messages: list[Message] = [{"role": "system", "content": (_TEMPLATES / f"{answer_format}.txt").read_text("utf-8")}]
    for name in _EXAMPLES:
        code, answer = example(name, answer_format)
        messages.append({"role": "user", "content": _question(code, answer_format)})
        messages.append({"role": "assistant", "content": answer})
    return tuple(messages)


def _question(code: str, answer_format: AnswerFormat) -> str:
    if answer_format == "lines":
        return f"The program:\n\n{numbered(code)}"
    return f"The program:\n\n```python\n{code.rstrip()}\n```"


def example(name: str, answer_format: AnswerFormat) -> tuple[str, str]:
    """A worked example, (program, right answer): the template is the program with plain marks."""
    marked = (_TEMPLATES / name).read_text("utf-8")
    code: list[str] = []
    found: dict[str, str] = {}
    for line in marked.splitlines():
        mark = as_plain_mark(_statement(line))
        if mark is None:
            code.append(line)
        else:
            found.setdefault(mark.name, f"{len(code)} {mark.variable or ''}".strip())
    answer = "\n".join(f"{name}: {found.get(name, 'none')}" for name in (*MILESTONES, *METRICS))
    if answer_format == "rewrite":
        answer = f"```python\n{marked.rstrip()}\n```"
    return "\n".join(code) + "\n", answer


def _statement(line: str) -> ast.stmt | None:
    try:
        body = parse_quietly(line.strip()).body
    except SyntaxError:
        return None
    return body[0] if body else None
