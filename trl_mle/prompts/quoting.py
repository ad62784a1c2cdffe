"""Text of policies and programs for a prompt: cleaned, cut to a length and put into fences that it cannot end.

A policy or its program may write anything: a million characters, control characters, fences, tokens of chat templates.
"""

from __future__ import annotations

import io
import re
import tokenize
from functools import lru_cache

from trl_mle.special_tokens import escape, escape_code

MARKS = re.compile(r"\[\[trl_mle:[^\[\]\n]{0,200}(?:\]\]\n?)?")
"""Marks of milestones and metrics. A program that inspects itself can print their text, and part of it may be cut off."""
LONGEST_FENCE = 8
"""Longest run of backticks that opens a block. Longer runs in a text are escaped."""
MAX_COMMENTED = 20_000
"""Longest program whose comments are taken out, in characters. Python's tokenizer can need the square of the length."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_TERMINAL = re.compile(r"\x1b\[[0-9;?]{0,40}[A-Za-z]")
_LIBRARY = re.compile(r'  File "(?:<frozen |[^"]{0,1000}(?:site-packages|dist-packages|/lib/python\d|\.p(?:yx|xi)"))')
_RUN = re.compile("`{3,}")


def clean_output(text: str, limit: int | None = None) -> str:
    """What a terminal shows of `text`, of which at most `limit` characters at each end are read (all by default).

    Colours, other control characters and marks are removed. Of a line that was written over, the last state stays.
    """
    if limit is not None and len(text) > 2 * limit:
        text = f"{text[:limit]}\n{_note(len(text) - 2 * limit)}\n{text[-limit:]}"
    text = _TERMINAL.sub("", text.replace("\r\n", "\n"))
    lines = (line.rstrip("\r").rpartition("\r")[2].rstrip() for line in text.split("\n"))
    return without_marks(_CONTROL.sub("", "\n".join(lines))).strip("\n")


def without_marks(text: str) -> str:
    """`text` without marks of milestones and metrics."""
    # Where a mark stood within another one, what is left of the two would be the beginning of a mark.
    return MARKS.sub("", text).replace("[[trl_mle:", "[[trl_mle :")


def own_traceback(error: str) -> str:
    """`error` without the frames of libraries, which are long and say nothing about the program."""
    lines, foreign = [], False
    for line in error.split("\n"):
        if line.startswith('  File "'):
            foreign = _LIBRARY.match(line) is not None
        elif not line.startswith("    "):
            foreign = False
        if not foreign:
            lines.append(line.removesuffix(", in <module>"))
    return "\n".join(lines)


def clean_code(code: str) -> str:
    """`code` with Python's escapes for control characters, which mean the same in most of its strings."""
    return _CONTROL.sub(_hexadecimal, code).strip("\n")


def without_comments(code: str) -> str:
    """`code` without comments and blank lines; `code` itself if it cannot be read, is very long, or continues a line with one."""
    if len(code) > MAX_COMMENTED:
        return code
    lines: list[str | None] = list(code.split("\n"))
    try:
        for token in tokenize.generate_tokens(io.StringIO(code).readline):
            row, column = token.start
            if token.type == tokenize.COMMENT:
                kept = (lines[row - 1] or "")[:column].rstrip()
                lines[row - 1] = kept or None
            elif token.type == tokenize.NL and not (lines[row - 1] or "").strip():
                lines[row - 1] = None
    except (tokenize.TokenError, SyntaxError, IndexError):  # a program that failed may be no Python
        return code
    # A line that ends with a backslash needs the next one, even if that holds nothing.
    gone = any(
        line is None and before.endswith("\\") for before, line in zip(code.split("\n"), lines[1:], strict=False)
    )
    bare = "\n".join(line for line in lines if line is not None).strip("\n")
    return code if gone or bare.endswith("\\") else bare


def keep_ends(text: str, limit: int) -> str:
    """At most `limit` characters of `text`: its first and, twice as many, its last ones. Whole lines where possible."""
    if len(text) <= limit:
        return text
    room = limit - len(_note(len(text))) - 2
    if room < 2:
        return ""
    head, tail = text[: room // 3], text[-(room - room // 3) :]
    head = head[: head.rfind("\n")] if "\n" in head[len(head) // 2 :] else head
    tail = _from_line(tail)
    return f"{head}\n{_note(len(text) - len(head) - len(tail))}\n{tail}"


def keep_end(text: str, limit: int, least: int = 0) -> str:
    """At most `limit` characters of `text`: its last ones. Whole lines where possible, and where `least` characters are left."""
    if len(text) <= limit:
        return text
    room = limit - len(_note(len(text))) - 1
    if room < 1:
        return ""
    tail = _from_line(text[-room:])
    if len(tail) < least:
        tail = text[-room:]
    return f"{_note(len(text) - len(tail))}\n{tail}"


def keep_start(text: str, limit: int) -> str:
    """At most `limit` characters of `text`: its first ones."""
    return text if len(text) <= limit else f"{text[: limit - 4].rstrip()} ..." if limit > 4 else ""


def fenced(text: str, language: str) -> str:
    """`text` as a code block. The fence is longer than any run of backticks in it, and special tokens are escaped.

    The order matters: what is escaped last cannot be put together again by an earlier step.
    """
    text = re.sub(f"`{{{LONGEST_FENCE},}}", _shortened, text)
    longest = max((len(run) for run in _RUN.findall(text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{(escape_code if language == 'python' else escape)(text)}\n{fence}"


def escape_tokens(text: str, tokens: tuple[str, ...]) -> str:
    """`text`, which is escaped already, with `\\uXXXX` for the first character of each of `tokens` that is left in it.

    `special_tokens.escape` knows what tokens of models look like; this function is for the others that a tokenizer lists.
    Tokens of white space cannot be escaped.
    """
    pattern = _pattern_of(tokens)
    return text if pattern is None else pattern.sub(_hexadecimal, text)


@lru_cache(maxsize=8)
def _pattern_of(tokens: tuple[str, ...]) -> re.Pattern[str] | None:
    """A pattern for those of `tokens` that `escape_code` does not know. Some tokenizers list thousands, so few may be left."""
    shown = sorted({token for token in tokens if token.strip() and escape_code(token) == token})
    # Only the first character is consumed, so that tokens that overlap are all found.
    return re.compile("|".join(f"{re.escape(t[0])}(?={re.escape(t[1:])})" for t in shown)) if shown else None


def _from_line(tail: str) -> str:
    """`tail` from its first whole line on, unless that costs more than half of it."""
    end = tail.find("\n", 0, len(tail) // 2)
    return tail[end + 1 :]


def with_note(characters: int, text: str) -> int:
    """Length of `text` of which `keep_end` leaves so many characters."""
    return min(len(text), characters + len(_note(len(text))) + 1)


def _note(characters: int) -> str:
    return f"[... {characters} characters left out ...]"


def _shortened(match: re.Match[str]) -> str:
    return "`" * (LONGEST_FENCE - 1) + "\\u0060" * (len(match[0]) - LONGEST_FENCE + 1)


def _hexadecimal(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x20 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
