"""Thinking sections of a completion. Code in them is a draft, which is never run.

Models mark them differently: Qwen and DeepSeek write `<think>`, Claude-like prompts `<thinking>`, Magistral `[THINK]`, Cohere
`<|START_THINKING|>`, Sky-T1 `<|begin_of_thought|>`, Kimi `<U+25C1>think<U+25B7>`, Seed `<seed:think>`, gpt-oss a channel
`analysis`. Tags are therefore known by their form and by the words in their name. A chat template may open the section itself, so
that the completion holds only its end. A completion may also speak of such tags.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

_WORDS = ("think", "thoughtprocess", "innerthought", "reasoning", "scratchpad", "monologue", "chainofthought")
"""What the name of a section holds, without its separators."""
_NAMES = frozenset(
    {"cot", "thought", "thoughts", "reason", "reflection", "analysis", "draft", "brainstorm", "rationale", "deliberation",
     "internal"}
)  # fmt: skip
"""Names of sections that are everyday words."""
_WITHOUT_END = frozenset(
    {
        "think",
        "thinking",
        "reasoning",
        "scratchpad",
        "thought",
        "thoughts",
        "cot",
        "innermonologue",
        "seedthink",
        "antthinking",
    }
)
"""Names of `<...>` tags that may be without end, where a completion was cut off or its model forgot the closing tag."""

_FORMS = (
    (re.compile(r"<[ \t]{0,3}(/?)[ \t]{0,3}([A-Za-z][\w:.-]{0,59})(?:[ \t][^<>\n]{0,200})?>"), False),
    (re.compile(r"<[|\uff5c][ \t]{0,3}(/?)([A-Za-z][\w .:-]{0,59})[|\uff5c]>"), True),
    (re.compile(r"\[(/?)([A-Za-z_]{5,20})\]"), False),
    (re.compile("\u25c1(/?)([A-Za-z_]{5,20})\u25b7"), True),
)
"""Pattern of a tag with its slash and its name, and whether only a model writes this form."""
_CHANNELS = (
    (re.compile(r"<\|channel\|>(?:analysis|commentary)\b"), re.compile(r"<\|channel\|>final\b(?:<\|message\|>)?")),
    (re.compile(r"<\|channel>thought\b"), re.compile(r"<channel\|>")),
    (re.compile(r"<unused94>thought\b"), re.compile(r"<unused95>")),
)
_SIDES = re.compile(r"(begin|start|end)(?:of)?")
_SEPARATORS = re.compile(r"[\W_]")
_SKIPPED = re.compile(r"\s*analysis(?=[^\s:,.])")
"""Start of a gpt-oss completion that was decoded without its special tokens."""
_SKIPPED_END = "assistantfinal"
_FIRST_CHARACTER = re.compile(r"\S")
_FENCE = re.compile(r"^[ \t]*(?:```|~~~)", re.MULTILINE)
_QUOTES = "\"'`\\"
_STRING_START = re.compile(r"(?:^|[\s(,=\[{:+])[rRbBfF]{0,2}([\"'`])[^\"'`]*$")
_NEAR = 200
"""Characters on each side of a tag that decide whether it stands in quotes. The bound keeps the work linear."""


@dataclass(frozen=True)
class Tag:
    """The beginning or the end of a section in a text."""

    start: int
    end: int
    """Place behind its last character."""
    kind: str
    """Form and name, which are the same for both ends of a section."""
    closing: bool
    strong: bool
    """Whether its name tells of thinking."""
    endless: bool
    """Whether the section may be without end. Any other tag opens a section only if it is closed again: prose has headings such as
    `[Reasoning]`, and types such as `<ThinkingModel>`."""
    quoted: bool
    starts_line: bool
    ends_line: bool

    @property
    def stands_alone(self) -> bool:
        """Whether the tag opens a section that may be without end."""
        return self.endless and self.starts_line


class Sections:
    """The tags of a text, and where the sections end that they open."""

    def __init__(self, text: str):
        self.tags = sorted(_find_tags(text), key=lambda tag: (tag.start, -tag.end))
        self._index = {tag.start: index for index, tag in enumerate(self.tags)}
        self._last_closing = {tag.kind: index for index, tag in enumerate(self.tags) if tag.closing and not tag.quoted}
        self._last_quoted = {tag.kind: index for index, tag in enumerate(self.tags) if tag.closing and tag.quoted}

    def opened_at(self, position: int) -> Tag | None:
        """The tag that opens a section at `position`."""
        index = self._index.get(position)
        return None if index is None or self.tags[index].closing or self.tags[index].quoted else self.tags[index]

    def end_of(self, opening: Tag) -> int | None:
        """Where the section ends that `opening` begins; `None` if it has no end. Sections of one kind may be nested."""
        last = self._last_closing.get(opening.kind, -1)
        depth, index = 1, self._index[opening.start]
        if last < index:
            # A draft ends where it ends, be it in a comment or between apostrophes.
            last = self._last_quoted.get(opening.kind, -1) if opening.stands_alone else -1
            return self.tags[last].end if last > index else None
        while index < last:
            index += 1
            tag = self.tags[index]
            if tag.kind == opening.kind and not tag.quoted:
                depth += -1 if tag.closing else 1
                if depth == 0:
                    break
        return self.tags[index].end

    def unopened(self) -> Iterator[Tag]:
        """Closing tags that no tag before them opens, in order."""
        depth: dict[str, int] = {}
        for tag in self.tags:
            if tag.quoted:
                continue
            if not tag.closing:
                depth[tag.kind] = depth.get(tag.kind, 0) + 1
            elif depth.get(tag.kind, 0) == 0:
                yield tag
            else:
                depth[tag.kind] -= 1


class LineSections:
    """The sections of a text, by its lines."""

    def __init__(self, lines: list[str]):
        starts, position = [], 0
        for line in lines:
            starts.append(position)
            position += len(line) + 1
        self._starts = starts
        self._length = position
        self._sections = Sections("\n".join(lines))
        self._next = 0

    def last_line(self, index: int) -> int | None:
        """The last line of the section that line `index` opens and does not close; `None` if it opens none.

        To be asked for lines in rising order.
        """
        tags = self._sections.tags
        end_of_line = self._starts[index + 1] if index + 1 < len(self._starts) else self._length
        position = self._starts[index]
        while self._next < len(tags) and tags[self._next].start < end_of_line:
            tag = tags[self._next]
            self._next += 1
            if tag.start < position or self._sections.opened_at(tag.start) is not tag:
                continue
            end = self._sections.end_of(tag)
            if end is None and tag.stands_alone:
                return len(self._starts) - 1
            if end is not None and end > end_of_line:
                return bisect_right(self._starts, end - 1) - 1
            position = end or position
        return None


def after_leading_sections(text: str) -> str | None:
    """`text` without the thinking sections that it begins with, or `None` if one of them has no end."""
    sections = Sections(text)
    position = 0
    while (start := _FIRST_CHARACTER.search(text, position)) is not None:
        opening = sections.opened_at(start.start())
        if opening is None:
            break
        end = sections.end_of(opening)
        if end is None:
            if opening.stands_alone:
                return None
            break
        position = end
    if position == 0 and _SKIPPED.match(text):
        end = text.find(_SKIPPED_END)
        position = end + len(_SKIPPED_END) if end >= 0 else 0
    return text[position or _end_of_section_of_prompt(text, sections) :]


def _end_of_section_of_prompt(text: str, sections: Sections) -> int:
    """Where the section ends that a chat template has opened; 0 if there is none."""
    fences = [fence.start() for fence in _FENCE.finditer(text)]
    for tag in sections.unopened():
        if not (tag.starts_line or (tag.strong and tag.ends_line)):
            continue  # the text speaks of it
        before = bisect_right(fences, tag.start)
        # Within the last fenced block, it is text of the program.
        if before % 2 == 1 and len(fences) - before < 2:
            continue
        return tag.end
    return 0


def _find_tags(text: str) -> Iterator[Tag]:
    for number, (pattern, only_models) in enumerate(_FORMS):
        for match in pattern.finditer(text):
            name = _SEPARATORS.sub("", match[2].lower())
            side = _SIDES.match(name)
            core = name[side.end() :] if side is not None and only_models else name
            strong = any(word in core for word in _WORDS)
            if strong or core in _NAMES:
                closing = bool(match[1]) or (side is not None and only_models and side[1] == "end")
                endless = only_models or match[0] == "[THINK]" or (number == 0 and core in _WITHOUT_END)
                if not (number == 2 and text.startswith("(", match.end())):  # a link of Markdown
                    yield _tag(text, match, f"{number} {core}", closing, strong or only_models, endless)
    for number, (opening, closing) in enumerate(_CHANNELS):
        for pattern in (opening, closing):
            for match in pattern.finditer(text):
                yield _tag(text, match, f"channel {number}", pattern is closing, strong=True, endless=True)


def _tag(text: str, match: re.Match[str], kind: str, closing: bool, strong: bool, endless: bool) -> Tag:
    start, end = match.span()
    before = text[max(start - _NEAR, 0) : start].rpartition("\n")
    after = text[end : end + _NEAR].partition("\n")
    return Tag(
        start,
        end,
        kind,
        closing,
        strong,
        endless,
        quoted=_is_quoted(before[2], after[0]),
        starts_line=not before[2].strip(" \t`~") and (before[1] != "" or start <= _NEAR),
        ends_line=not after[0].strip() and (after[1] != "" or end + _NEAR >= len(text)),
    )


def _is_quoted(before: str, after: str) -> bool:
    """Whether a tag between these texts of its line stands in quotes, in backticks or in a comment."""
    if before.endswith(("```", '"""')):
        return False
    if before and before[-1] in _QUOTES and (not after or after[0] in _QUOTES or before[-1] == "`"):
        return True
    string = _STRING_START.search(before)
    return (string is not None and string[1] in after) or before.lstrip().startswith("#")
