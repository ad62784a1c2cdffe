"""Changes to the model card that TRL writes: further sections, and a quick start with a prompt of the run."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trl_mle.training.weighting.config import DurationSettings

PAPER = {
    "title": "Reinforcement Learning for Machine Learning Engineering Agents",
    "id": "2509.01684",
    # docstyle-ignore
    "citation": textwrap.dedent("""\
        @inproceedings{yang2026reinforcement,
            title        = {{Reinforcement Learning for Machine Learning Engineering Agents}},
            author       = {Sherry Yang and Joy He-Yueya and Percy Liang},
            year         = 2026,
            booktitle    = {International Conference on Learning Representations},
            eprint       = {arXiv:2509.01684},
        }"""),
}
"""The paper of the weighting, as TRL's trainers name theirs."""

ANCHOR = "### Framework versions"
"""Heading of TRL's template before which sections are inserted."""
QUICK_START = "## Quick start\n"
"""Heading of TRL's example, which ends at the next heading of the same level."""

PLACEHOLDERS = {
    "licence: license\n": "",
    "a fine-tuned version of [None](https://huggingface.co/None)": "a policy for machine-learning-engineering tasks",
}
"""What TRL writes if it does not know licence or base model (one on this machine) -> what stands there instead."""


def add_sections(readme: Path, sections: Mapping[str, str]) -> None:
    """Put `sections` (title -> Markdown) into the model card at `readme`.

    A section whose title the card has already is replaced, down to the next heading. New ones stand before the framework
    versions.
    """
    text = readme.read_text(encoding="utf-8")
    for placeholder, replacement in PLACEHOLDERS.items():
        text = text.replace(placeholder, replacement)
    added = ""
    for title, body in sections.items():
        heading = re.search(rf"^##+ {re.escape(title)}\n", text, re.MULTILINE)
        if heading is None:
            added += f"### {title}\n\n{body.strip()}\n\n"
            continue
        # Two signs at least: a comment in a code block starts with one.
        following = re.search(r"^##+ ", text[heading.end() :], re.MULTILINE)
        rest = text[heading.end() + following.start() :] if following else ""
        text = f"{text[: heading.end()]}\n{body.strip()}\n\n{rest}"
    before, anchor, after = text.partition(ANCHOR)
    readme.write_text(before + added + anchor + after, encoding="utf-8")


def replace_quick_start(
    readme: Path, prompt: str | Sequence[Mapping[str, Any]], model: str, max_new_tokens: int | None = None
) -> None:
    """Let the quick start of the model card at `readme` generate from `prompt` instead of TRL's question.

    Args:
        prompt: text, or chat messages.
        model: Hub id or path of the model.
        max_new_tokens: longest completion, in tokens.
    """
    text = readme.read_text(encoding="utf-8")
    before, heading, rest = text.partition(QUICK_START)
    # Without TRL's section there is nothing to replace.
    if not heading:
        return
    _, next_heading, after = rest.partition("\n## ")
    limit = "" if max_new_tokens is None else f"max_new_tokens={max_new_tokens}, "
    example = (
        "\n```python\nfrom transformers import pipeline\n\n"
        f"prompt = {json.dumps(prompt, indent=4, ensure_ascii=False)}\n"
        f'generator = pipeline("text-generation", model={json.dumps(model)}, device_map="auto")\n'
        f'print(generator(prompt, {limit}return_full_text=False)[0]["generated_text"])\n```\n'
    )
    readme.write_text(before + heading + example + next_heading + after, encoding="utf-8")


def weighting_section(settings: DurationSettings) -> str:
    """Markdown that states how a run was weighted by duration."""
    clip = "none" if settings.duration_clip is None else f"{settings.duration_clip:g}"
    lines = [
        f"- weighting: `{settings.duration_weighting}`",
        f"- clock: {settings.duration_clock}",
        f"- largest weight: {clip}",
        f"- floor: {settings.duration_floor_s:g} s",
        f"- exponent: {settings.duration_exponent:g}",
    ]
    if settings.duration_weighting == "inverse_inclusion":
        lines.append(f"- collection: `{settings.duration_rule}`")
    return "\n".join(lines)
