"""Sections of the model card that TRL's template does not have, or has with other content."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard

from trl_mle.training.turn_credit.settings import TurnCreditSettings
from trl_mle.training.weighting.config import DurationSettings
from trl_mle.training.weighting.rules import RULES

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

PLACEHOLDERS = {
    "licence: license\n": "",
    "a fine-tuned version of [None](https://huggingface.co/None)": "a fine-tuned language model",
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


def add_metadata(readme: Path, metadata: Mapping[str, Any]) -> None:
    """Put `metadata` into the header of the model card at `readme`, in place of what the header says of the same fields.

    Args:
        metadata (mapping from field to value):
            Fields of `huggingface_hub.ModelCardData`, such as `license` and `base_model`. `eval_results` needs `model_name`, too.
            A field that is `None` is left as it is. Tags are added.
    """
    if not metadata:
        return
    card = ModelCard.load(readme, ignore_metadata_errors=True)
    for name, value in metadata.items():
        if name == "tags":
            card.data[name] = list(dict.fromkeys([*(card.data.get(name) or ()), *value]))
        elif value is not None:
            card.data[name] = value
    card.save(readme)


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
    if RULES[settings.duration_weighting].needs_inclusion:
        lines.append(f"- collection: `{settings.duration_rule}`")
    return "\n".join(lines)


def credit_section(settings: TurnCreditSettings) -> str:
    """Markdown that states which advantage each action of a completion had."""
    return f"- credit: `{settings.turn_credit}`\n- discount per turn: {settings.turn_discount:g}"
