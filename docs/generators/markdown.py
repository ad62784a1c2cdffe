"""Markdown: tables, and texts that were written for GitHub made fit for the site."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(((?!\w+:|#|<)[^)#\s]+)(#[^)\s]+)?\)")
_FENCE = re.compile(r"^(?P<fence> *`{3,})(?P<language>\w+) +(?P<marks>[^\n`]+)$", re.MULTILINE)
_CODE = re.compile(r"`[^`\n]+`")
_PAGE = re.compile(r"`docs/((?:\w+/)*\w+)\.md`")
_BLOCK = re.compile(r"^( *)(```+).*?^\1\2 *$", re.MULTILINE | re.DOTALL)

_ARGUMENT = re.compile(r"^(?P<space>[ \t]+)(?P<name>\*{0,2}\w+) \((?P<type>[^\n]*)\):$", re.MULTILINE)
_REFERENCE = re.compile(r"\[(`[\w.]+`)\](?![\[(])")


def plain_docstring(text: str) -> str:
    """A docstring without the types of arguments, which signatures have, and with references as code."""
    return _REFERENCE.sub(r"\1", _ARGUMENT.sub(r"\g<space>\g<name>:", text))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; `|` and line breaks in cells are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def fit_for_site(markdown: str, folder: Path, docs: Path) -> str:
    """A page as MkDocs needs it.

    Args:
        markdown: Text of the page.
        folder: Folder of the page, from which its links start.
        docs: Folder of all pages. A link that leaves it becomes the path in the repository.
    """
    parts, place = [], 0
    for block in _BLOCK.finditer(markdown):
        parts += [_links(markdown[place : block.start()], folder, docs), _titled(block.group())]
        place = block.end()
    return "".join([*parts, _links(markdown[place:], folder, docs)])


def _links(text: str, folder: Path, docs: Path) -> str:
    def replaced(match: re.Match[str]) -> str:
        label, target, _ = match.groups()
        path = Path(os.path.normpath(folder / target))
        if path.is_relative_to(docs) and not path.is_dir():
            return match.group()
        path_text = f"`{os.path.relpath(path, ROOT)}`"
        return path_text if label.strip("`") in (target, Path(target).name) else f"{label} ({path_text})"

    # In code, GitHub shows an escaped bar of a table without its escape, and Python-Markdown needs none.
    text = _CODE.sub(lambda match: match.group().replace("\\|", "|"), text)
    return _LINK.sub(replaced, text)


def linked(text: str) -> str:
    """A help text for a page in a folder of `docs/`: the pages that it names become links."""
    return _PAGE.sub(r"[\1](../\1.md)", text)


def _titled(block: str) -> str:
    def replaced(match: re.Match[str]) -> str:
        needs = re.findall(r"\bneeds=([\w,.-]+)", match["marks"])
        title = f' title="needs {needs[0].replace("_", " ").replace(",", ", ")}"' if needs else ""
        return f"{match['fence']}{match['language']}{title}"

    return _FENCE.sub(replaced, block, count=1)
