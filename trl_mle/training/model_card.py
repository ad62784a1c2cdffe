"""Sections of the model card that TRL's template does not have."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

ANCHOR = "### Framework versions"


def add_sections(readme: Path, sections: Mapping[str, str]) -> None:
    """Insert `sections` (title -> Markdown) into the model card at `readme`, before the framework versions."""
    text = readme.read_text(encoding="utf-8")
    added = "".join(f"### {title}\n\n{body.strip()}\n\n" for title, body in sections.items())
    before, anchor, after = text.partition(ANCHOR)
    readme.write_text(before + added + anchor + after, encoding="utf-8")
