"""Thinking sections of a completion. Code in them is a draft, which is never run.

Models mark them differently: Qwen and DeepSeek write `<think>`, Claude-like prompts `<thinking>`, Magistral `[THINK]`, Sky-T1
`<|begin_of_thought|>`, Kimi `<U+25C1>think<U+25B7>`, Seed `<seed:think>`, gpt-oss a channel `analysis`. A chat template may open
the section itself, so that the completion holds only its end.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_NAMES = (
    "think|thinking|thought|thoughts|reasoning|reason|reflection|scratchpad|analysis|inner_monologue|monologue|"
    "seed:think|antthinking|ant_thinking|chain_of_thought|cot|brainstorm|draft"
)


@dataclass(frozen=True)
class Tag:
    """How one kind of section begins and ends."""

    opening: re.Pattern[str]
    closing: re.Pattern[str]


def _tag(opening: str, closing: str) -> Tag:
    return Tag(re.compile(opening, re.IGNORECASE), re.compile(closing, re.IGNORECASE))


TAGS = (
    *(_tag(rf"<{name}(?:[ \t][^<>\n]{{0,200}})?>", rf"</{name}[ \t]*>") for name in _NAMES.split("|")),
    _tag(r"\[THINK\]", r"\[/THINK\]"),
    _tag(r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>"),
    _tag(r"<\|(?:begin_of_)?thinking\|>", r"<\|(?:/thinking|end_of_thinking|endofthinking)\|>"),
    _tag("\u25c1think\u25b7", "\u25c1/think\u25b7"),
    _tag(r"<\|channel\|>(?:analysis|commentary)\b", r"<\|channel\|>final\b(?:<\|message\|>)?"),
)
_ANY_OPENING = re.compile("|".join(f"(?:{tag.opening.pattern})" for tag in TAGS), re.IGNORECASE)
_ANY_CLOSING = re.compile("|".join(f"(?:{tag.closing.pattern})" for tag in TAGS), re.IGNORECASE)
TAGS_BY_OPENING = {tag: tag.opening for tag in TAGS}
TAGS_BY_CLOSING = {tag: tag.closing for tag in TAGS}
_FIRST_WORD = re.compile(r"\S")
_QUOTES = "\"'`\\"


def opens(line: str) -> Tag | None:
    """The tag of the section that `line` opens and does not close again, if any. A tag in quotes or backticks opens nothing."""
    position = 0
    while (match := _ANY_OPENING.search(line, position)) is not None:
        position = match.end()
        if _is_quoted(line, match):
            continue
        tag = _tag_of(match.group(), TAGS_BY_OPENING)
        closing = tag.closing.search(line, position)
        if closing is None:
            return tag
        position = closing.end()
    return None


def after_leading_sections(text: str) -> str | None:
    """`text` without the thinking sections that it begins with, or `None` if one of them has no end."""
    position = 0
    while True:
        start = _FIRST_WORD.search(text, position)
        match = None if start is None else _ANY_OPENING.match(text, start.start())
        if match is None:
            break
        end = _tag_of(match.group(), TAGS_BY_OPENING).closing.search(text, match.end())
        if end is None:
            return None
        position = end.end()
    if position == 0:
        position = _end_of_section_of_prompt(text)
    return text[position:]


def _end_of_section_of_prompt(text: str) -> int:
    """Where the section ends that a chat template has opened; 0 if there is none."""
    first_opening: dict[Tag, int] = {}
    for match in _ANY_CLOSING.finditer(text):
        tag = _tag_of(match.group(), TAGS_BY_CLOSING)
        if tag not in first_opening:
            opening = tag.opening.search(text)
            first_opening[tag] = len(text) if opening is None else opening.start()
        if first_opening[tag] < match.start():
            return 0
        # In quotes, it is text of a program.
        following = text[match.end() : match.end() + 1]
        if not (following and following in _QUOTES + ")") and not _is_quoted(text, match):
            return match.end()
    return 0


def _is_quoted(text: str, match: re.Match[str]) -> bool:
    before, after = text[max(match.start() - 1, 0) : match.start()], text[match.end() : match.end() + 1]
    return before != "" and before in _QUOTES and (after == "" or after in _QUOTES or before == "`")


def _tag_of(text: str, patterns: dict[Tag, re.Pattern[str]]) -> Tag:
    return next(tag for tag, pattern in patterns.items() if pattern.fullmatch(text))
