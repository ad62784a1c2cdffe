"""Pages that are files of the repository's root: `CONTRIBUTING.md`, `AGENTS.md` and `CHANGELOG.md`."""

from __future__ import annotations

import re

from generators.markdown import ROOT


def contributing() -> str:
    """`CONTRIBUTING.md`."""
    return _page("CONTRIBUTING.md")


def agents() -> str:
    """`AGENTS.md`."""
    return _page("AGENTS.md")


def changelog() -> str:
    """`CHANGELOG.md`."""
    return _page("CHANGELOG.md")


def _page(name: str) -> str:
    """The text of a file of the root, with its links as they lead from `docs/project/`."""
    text = (
        (ROOT / name)
        .read_text(encoding="utf-8")
        .replace("(AGENTS.md)", "(agents.md)")
        .replace("(CONTRIBUTING.md)", "(contributing.md)")
    )
    return re.sub(r"\]\(docs/", "](../", text)
