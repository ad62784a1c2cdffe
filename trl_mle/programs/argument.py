"""From the argument of a tool call to a `Program`, or a named reason why there is none."""

from __future__ import annotations

import ast
from typing import Any

from trl_mle.errors import ExtractionError
from trl_mle.programs.extract import check_text, extract_program
from trl_mle.programs.fences import parse_python
from trl_mle.types import Program


def program_of_argument(code: Any) -> Program:
    """The program in the argument of a tool.

    The text is the program. If it is no Python and has a fenced block, as in an answer, the block is the program. A text with a
    syntax error is a program, too: it runs and fails.

    Args:
        code (`str`):
            The argument. A policy may have written anything, also another type.

    Raises:
        ExtractionError: no text, or one that cannot be a program: `not_text`, `empty_completion`, `too_long` or `undecodable`.
    """
    if not isinstance(code, str):
        raise ExtractionError("not_text", f"`code` is a string, not {type(code).__name__}")
    check_text(code)
    text = code.replace("\r\n", "\n").replace("\r", "\n")
    if ("```" in text or "~~~" in text) and not isinstance(parse_python(text), ast.Module):
        try:
            return extract_program(text)
        except ExtractionError:
            pass  # what stands there runs, and its syntax error says what is wrong
    return Program(plan="", code=text)
