"""Links of the documentation lead somewhere in the repository, too, where no site has been built."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.snippets import ALL_PAGES, ROOT

_BLOCK = re.compile(r"^( *)(`{3,}).*?^\1\2 *$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(((?!\w+:)[^)#\s]*)(?:#([^)\s]+))?\)")
_HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)


def dead_links(page: Path) -> list[str]:
    """Targets of relative links of `page` that are no file or folder, or no heading of a page."""
    dead = []
    for target, heading in _LINK.findall(_BLOCK.sub("", page.read_text(encoding="utf-8"))):
        path = page.parent / target if target else page
        if not path.exists():
            dead.append(target)
        elif heading and path.suffix == ".md" and heading not in headings(path):
            dead.append(f"{target}#{heading}")
    return dead


def headings(page: Path) -> set[str]:
    """Names under which GitHub finds the headings of a page."""
    text = _BLOCK.sub("", page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in _HEADING.findall(text)}


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page):
    assert dead_links(page) == []


def test_a_dead_link_is_found(tmp_path):
    (tmp_path / "other.md").write_text("# One thing\n", encoding="utf-8")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](other.md#one-thing) [b](other.md#another) [c](none.md) [d](https://x.y/z)\n", encoding="utf-8"
    )
    assert dead_links(page) == ["other.md#another", "none.md"]
