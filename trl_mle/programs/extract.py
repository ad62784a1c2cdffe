"""From a policy's completion to a `Program`, or a named reason why there is none."""

from __future__ import annotations

import ast
import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

from trl_mle.errors import ExtractionError
from trl_mle.programs.fences import Block, find_blocks, parse_python
from trl_mle.programs.thinking import after_leading_sections
from trl_mle.types import Program

logger = logging.getLogger(__name__)

REASONS: tuple[str, ...] = (
    "not_text",
    "empty_completion",
    "too_long",
    "undecodable",
    "unterminated_thinking",
    "no_code_block",
    "unterminated_code_block",
    "empty_code_block",
    "wrong_language",
    "too_complex",
)
"""All values of `ExtractionError.reason` that `extract_program` raises."""

MAX_CHARACTERS = 200_000
"""Longest completion that is searched for a program, in characters."""

_UNDECODABLE = re.compile("[\x00\ud800-\udfff]")
_COMMAND = re.compile(r"\s*(?:[$!%]|(?:pip3?|python3?|conda|uv|apt(?:-get)?|bash|sh|cd|ls|cat|kaggle|jupyter)\s)")


def extract_program(completion: str | Sequence[Mapping[str, Any]]) -> Program:
    """Extract the plan and the last complete Python block of a completion.

    Code in a thinking section is ignored, and so is a block without a statement. A block without a language tag counts only if
    no block is tagged as Python and the block parses as Python. If none of this gives a program, a block that is tagged as Python
    counts also within or behind another block, or if its fence ends a line of prose. A program with a syntax error is still a
    program: it runs and fails.

    Args:
        completion (`str` or sequence of chat messages):
            The policy's text, or chat messages, of which the last one with the role `assistant` is read. The content of a
            message is a string or a list of `{"type": "text", "text": ...}` parts.

    Returns:
        [`Program`]: `plan` is the text before the block, without thinking sections. `code` has `\\n` line ends.

    Raises:
        ExtractionError: there is no program; the `reason` is one of `REASONS`.
    """
    text = _text_of(completion)
    check_text(text)
    answer = after_leading_sections(text.replace("\r\n", "\n").replace("\r", "\n"))
    if answer is None:
        raise ExtractionError("unterminated_thinking", "the completion ends inside a thinking section")
    lines = answer.split("\n")
    try:
        block, thinking = _find_program(lines)
    except ExtractionError:
        raise
    except Exception as error:  # whatever a text does to this code, it is the text of a policy
        logger.exception("A completion of %d characters could not be searched", len(text))
        raise ExtractionError("too_complex", f"{type(error).__name__}: {error}") from error
    hidden = set(thinking)
    plan = "\n".join(line for number, line in enumerate(lines[: block.start]) if number not in hidden)
    return Program(plan=plan.strip(), code=block.code)


def check_text(text: str) -> None:
    """Raise `ExtractionError` if `text` cannot hold a program: `empty_completion`, `too_long` or `undecodable`."""
    if not text.strip():
        raise ExtractionError("empty_completion", "the completion has no text")
    if len(text) > MAX_CHARACTERS:
        raise ExtractionError("too_long", f"{len(text)} characters; at most {MAX_CHARACTERS} are read")
    bad = _UNDECODABLE.search(text)
    if bad is not None:
        raise ExtractionError("undecodable", f"character U+{ord(bad[0]):04X} at position {bad.start()}")


def _text_of(completion: object) -> str:
    if isinstance(completion, str):
        return completion
    if isinstance(completion, (bytes, bytearray)) or not isinstance(completion, Sequence):
        raise ExtractionError("not_text", f"a completion is a string or messages, not {type(completion).__name__}")
    if not completion:
        raise ExtractionError("empty_completion", "the completion has no messages")
    for message in reversed(completion):
        if not isinstance(message, Mapping):
            raise ExtractionError("not_text", f"a message is a mapping, not {type(message).__name__}")
        if message.get("role") == "assistant":
            return _content_of(message.get("content"))
    raise ExtractionError("not_text", "no message has the role 'assistant'")


def _content_of(content: object) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, (list, tuple)):
        raise ExtractionError("not_text", f"a message's content is a string or parts, not {type(content).__name__}")
    texts = []
    for part in content:
        text = part.get("text") if isinstance(part, Mapping) else part
        if not isinstance(text, str):
            raise ExtractionError("not_text", "a message's content has a part without text")
        texts.append(text)
    return "".join(texts)


def _find_program(lines: list[str]) -> tuple[Block, list[int]]:
    """The block of the program, and the indices of the lines in thinking sections. Raises `ExtractionError` if there is none."""
    blocks, thinking = find_blocks(lines)
    try:
        return _choose(blocks), thinking
    except ExtractionError:
        # Another fence may hide that of the program. What is found then is better than nothing, and no reason for another error.
        hidden, thinking = find_blocks(lines, only_python=True)
        usable = [block for block in hidden if block.terminated and _does_something(block.code)]
        if not usable:
            raise
        return usable[-1], thinking


def _choose(blocks: list[Block]) -> Block:
    """The last complete Python block that is not empty. Raises `ExtractionError` if there is none."""
    tagged = [block for block in blocks if block.is_python]
    untagged = [block for block in blocks if block.is_untagged]
    for block in reversed(tagged):
        if block.terminated and _does_something(block.code):
            return block
    if not tagged:
        for block in reversed(untagged):
            if block.terminated and _looks_like_python(block.code):
                return block
    # No block is usable. The most telling reason is the one of the blocks that could have been the program.
    candidates = tagged or untagged
    if any(not block.terminated for block in candidates):
        raise ExtractionError("unterminated_code_block", "the last code block has no closing fence")
    if any(not _does_something(block.code) for block in candidates):
        raise ExtractionError("empty_code_block", "the Python block has no statement")
    if not blocks:
        raise ExtractionError("no_code_block", "no fenced code block; write the program between ```python and ```")
    named = ", ".join(sorted({block.info.split()[0][:40] for block in blocks if block.info})) or "none, not Python"
    raise ExtractionError("wrong_language", f"no block is Python; language of the blocks: {named}")


def _does_something(code: str) -> bool:
    """Whether `code` is more than comments, texts and commands of a shell. Code with a syntax error is a program that fails."""
    lines = [line for line in code.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        return False
    tree = parse_python(code)
    if isinstance(tree, ast.Module):
        return any(not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)) for node in tree.body)
    return not all(_COMMAND.match(line) for line in lines)


def _looks_like_python(code: str) -> bool:
    """Whether `code` parses and does something. A single word and `accuracy: 0.9` parse too, but they are no programs."""
    tree = parse_python(code)
    if not isinstance(tree, ast.Module):
        return False
    return any(isinstance(node, (ast.Call, ast.Import, ast.ImportFrom, ast.Assign)) for node in ast.walk(tree))
