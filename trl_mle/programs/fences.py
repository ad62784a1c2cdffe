"""Fenced code blocks of a completion, found in one pass over its lines (CommonMark's rules, with any indentation).

A block ends at a line that holds only a fence of the same character. The closing fence must be at least as long as the
opening one and may be indented at most three columns deeper. So a fence inside an indented docstring does not end a program.

Models also write tags in the lines of fences: `<answer>` before the opening one; after the closing one `</answer>`, or tokens that
end a turn (`<|im_end|>`) and that the tokenizer did not remove.
"""

from __future__ import annotations

import ast
import bisect
import re
from dataclasses import dataclass

from trl_mle.parsing import parse_quietly
from trl_mle.programs.thinking import LineSections

_OPENING = re.compile(r"((?:<\w{1,40}>)?[ \t]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)?)(`{3,}|~{3,})[ \t]*(.*)")
_PYTHON_OPENING = re.compile(
    r"()(?:[^`~\n]*[^`~\n \t])?[ \t]*(`{3,}|~{3,})[ \t]*(\{?\.?(?:i?python|py)[\d.]*\}?)[ \t]*", re.IGNORECASE
)
"""A fence that is tagged as Python, also at the end of a line of prose."""
_TAG = r"<[|\uff5c][^<>\s]{1,60}[|\uff5c]>|</?[A-Za-z_][\w:.-]{0,60}>"
_FENCE_LINE = re.compile(rf"([ \t]*)(`{{3,}}|~{{3,}})[ \t]*(?:(?:{_TAG})[ \t]*)*")
_PYTHON_TAG = re.compile(r"\{?\s*\.?(?:i?python|py)\d*(?:\.\d+)*(?![\w+.-])", re.IGNORECASE)
_CLOSINGS_TRIED = 8
"""Most closing fences that are tried for one block. The bound keeps the work linear in the length of the completion."""
_PARSED = 400_000
"""Most characters that are parsed to find the ends of all blocks. After that, the first fence ends each block."""
_PER_PARSE = 100
"""Characters that a parse of nothing costs as much as."""


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    start: int
    """Index of the opening line."""
    info: str
    """Text after the opening fence, for example `python`."""
    code: str
    """Content without the indentation of the fence. Ends with a newline unless it is empty."""
    terminated: bool
    """Whether the block has a closing fence."""

    @property
    def is_python(self) -> bool:
        """Whether the block is tagged as Python."""
        return _PYTHON_TAG.match(self.info) is not None

    @property
    def is_untagged(self) -> bool:
        """Whether the block has no language tag."""
        return not self.info


def find_blocks(lines: list[str], only_python: bool = False) -> tuple[list[Block], list[int]]:
    """The fenced blocks of `lines`, and the indices of the lines in thinking sections between them.

    Fences in a thinking section are ignored.

    Args:
        only_python (`bool`, *optional*, defaults to `False`):
            Whether only fences that are tagged as Python open a block, wherever they stand: in a block of Markdown, after a fence
            that was never closed or a line of `~~~` under a heading, or at the end of a line of prose.
    """
    blocks: list[Block] = []
    thinking: list[int] = []
    closings = _closings(lines)
    sections = LineSections(lines)
    effort = _Effort(_PARSED)
    index = 0
    while index < len(lines):
        last = sections.last_line(index)
        if last is not None:
            thinking += range(index, last + 1)
            index = last + 1
            continue
        opening = (only_python and _PYTHON_OPENING.fullmatch(lines[index])) or _OPENING.fullmatch(lines[index])
        # CommonMark: the text after a fence of backticks holds no backtick; otherwise the line is inline code.
        is_inline = opening is not None and opening[2][0] == "`" and "`" in opening[3]
        if opening is None or is_inline or (only_python and _PYTHON_TAG.match(opening[3]) is None):
            index += 1
            continue
        end, block = _read_block(lines, index, opening, closings, effort)
        blocks.append(block)
        last = sections.last_line(end) if end < len(lines) else None
        if last is not None:  # behind the fence that ends the block
            thinking += range(end, last + 1)
        index = (end if last is None else last) + 1
    return blocks, thinking


def parse_python(code: str) -> ast.Module | SyntaxError | None:
    """The syntax tree, the syntax error, or `None` if the parser gives up for another reason (depth, size)."""
    try:
        return parse_quietly(code)
    except SyntaxError as error:
        return error
    except (ValueError, RecursionError, MemoryError):
        return None


@dataclass(frozen=True)
class _Closing:
    index: int
    indent: int
    character: str
    length: int


def _closings(lines: list[str]) -> list[_Closing]:
    closings = []
    for index, line in enumerate(lines):
        match = _FENCE_LINE.fullmatch(line)
        if match is not None:
            closings.append(_Closing(index, len(match[1].expandtabs(4)), match[2][0], len(match[2])))
    return closings


@dataclass
class _Effort:
    left: int
    """Characters that may still be parsed for this completion."""

    def parse(self, code: str) -> ast.Module | SyntaxError | None:
        """As `parse_python`; `None`, too, if nothing is left."""
        self.left -= len(code) + _PER_PARSE
        return parse_python(code) if self.left >= 0 else None


def _read_block(
    lines: list[str], start: int, opening: re.Match[str], closings: list[_Closing], effort: _Effort
) -> tuple[int, Block]:
    """The block that opens at line `start`, and the index of its last line."""
    indent, fence, info = opening[1], opening[2], opening[3].strip()
    width = len(indent.expandtabs(4))
    candidates = []
    first = bisect.bisect_right(closings, start, key=lambda closing: closing.index)
    for number in range(first, len(closings)):
        closing = closings[number]
        if closing.character == fence[0] and closing.length >= len(fence) and closing.indent <= width + 3:
            candidates.append(closing.index)
            if len(candidates) == _CLOSINGS_TRIED:
                break
    if not candidates:
        return len(lines), Block(start, info, _content(lines[start + 1 :], indent), terminated=False)
    end = candidates[0]
    block = Block(start, info, _content(lines[start + 1 : end], indent), terminated=True)
    # A program may write Markdown from a triple-quoted string. The first fence that leaves a complete program is the end.
    if block.is_python and len(candidates) > 1 and _ends_inside_string(block.code, effort):
        for later in candidates[1:]:
            code = _content(lines[start + 1 : later], indent)
            if isinstance(effort.parse(code), ast.Module):
                return later, Block(start, info, code, terminated=True)
    return end, block


def _ends_inside_string(code: str, effort: _Effort) -> bool:
    error = effort.parse(code)
    return isinstance(error, SyntaxError) and str(error.msg).startswith("unterminated triple-quoted")


def _content(lines: list[str], indent: str) -> str:
    first = next((line for line in lines if line.strip()), "")
    # In a list item, code may begin at the left margin. What its first line lacks is no indentation of the fence.
    width = min(len(indent), len(first) - len(first.lstrip(" \t")))
    stripped = [line[width:] if not line[:width].strip() else line.lstrip(" \t") for line in lines]
    return "".join(f"{line}\n" for line in stripped)
