"""The conversation that asks a model where a program reaches its milestones."""

from __future__ import annotations

import ast
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Literal

from trl_mle.instrumentation.llm.milestone_texts import instructions
from trl_mle.instrumentation.llm.plain_marks import as_plain_mark
from trl_mle.instrumentation.llm.quotes import statements_by_line
from trl_mle.language_models.backends import Message
from trl_mle.parsing import parse_quietly
from trl_mle.special_tokens import escape_code
from trl_mle.types import MILESTONES

AnswerFormat = Literal["lines", "rewrite"]
_TEMPLATES = Path(__file__).parent / "templates"
_EXAMPLES = ("example_1.txt", "example_2.txt")
DEFAULT_MAX_TOKENS = {"lines": 500, "rewrite": 2048}
"""Default of the longest answer in tokens: one line per milestone and metric, or a whole program of 1,024 tokens with prints."""

ANSWER_LINES = (*MILESTONES, "validation_score", "training_score", "training_loss")
"""Lines of an answer in the format `lines`. The variable that is asked for first is found best, and the score on held-out data
is worth most."""


def build_messages(code: str, answer_format: AnswerFormat) -> list[Message]:
    """Instructions, two worked examples and the program `code`. The messages hold no secret.

    What could be a special token of the model's chat template is escaped in the program, so that it opens no turn.
    """
    return [*_opening(answer_format), {"role": "user", "content": _question(escape_code(code))}]


def prompt_version(answer_format: AnswerFormat) -> str:
    """Identifier (12 hexadecimal digits) of all messages except the program; it changes with every word of them."""
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
    """A worked example, (program, right answer), made from a template that is the program with plain marks."""
    marked = (_TEMPLATES / name).read_text("utf-8")
    code: list[str] = []
    places: dict[str, int | str] = {}
    for line in marked.splitlines():
        mark = as_plain_mark(_statement(line))
        if mark is None:
            code.append(line)
        else:
            places.setdefault(mark.name, mark.variable or len(code))
    text = "\n".join(code) + "\n"
    if answer_format == "rewrite":
        return text, f"```python\n{marked.rstrip()}\n```"
    statements = statements_by_line(parse_quietly(text))
    return text, "\n".join(f"{name}: {_place(places.get(name), code, statements)}" for name in ANSWER_LINES)


def _place(place: int | str | None, code: list[str], statements: dict[int, ast.stmt]) -> str:
    """What the answer says about `place`: the variable, or the first line of the statement that ends in that line."""
    return code[statements[place].lineno - 1].strip() if isinstance(place, int) else place or "none"


def _statement(line: str) -> ast.stmt | None:
    try:
        body = parse_quietly(line.strip()).body
    except SyntaxError:
        return None
    return body[0] if body else None
