"""Sections of the model card that TRL's template does not have, or has with other content."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

ANCHOR = "### Framework versions"
"""Heading of TRL's template before which new sections stand."""


def add_sections(readme: Path, sections: Mapping[str, str]) -> None:
    """Put `sections` (title -> Markdown) into the model card at `readme`.

    A section whose title the card has already is replaced, down to the next heading. New ones stand before the framework
    versions.
    """
    text = readme.read_text(encoding="utf-8")
    added = ""
    for title, body in sections.items():
        section = re.compile(rf"^(#+ {re.escape(title)}\n).*?(?=^##+ )", re.MULTILINE | re.DOTALL)
        if section.search(text):
            text = section.sub(lambda match, body=body: f"{match[1]}\n{body.strip()}\n\n", text, count=1)  # type: ignore[misc]
        else:
            added += f"### {title}\n\n{body.strip()}\n\n"
    before, anchor, after = text.partition(ANCHOR)
    readme.write_text(before + added + anchor + after, encoding="utf-8")
