"""How each milestone is explained to the model, in both forms of answer, and the instructions made of it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from trl_mle.types import MILESTONES, PROGRAM_METRICS, Milestone

_TEMPLATES = Path(__file__).parent / "templates"


class MilestoneText(NamedTuple):
    """The explanation of one milestone."""

    lines: str
    """What the program does in the line that reaches it."""
    rewrite: str
    """After what the print stands."""


MILESTONE_TEXTS: dict[Milestone, MilestoneText] = {
    Milestone.IMPORTED_LIBRARIES: MilestoneText(
        "the last line that imports a library for data or machine learning.",
        "the last import of a library for data or machine learning.",
    ),
    Milestone.LOADED_DATA: MilestoneText(
        "the training data is read from its file.",
        "the training data has been read from its file.",
    ),
    Milestone.BUILT_FEATURES: MilestoneText(
        "the inputs of the model are made (columns chosen, text vectorised, data scaled, encoded or split).",
        "the inputs of the model exist (columns chosen, text vectorised, data scaled, encoded or split).",
    ),
    Milestone.DEFINED_MODEL: MilestoneText(
        "the model object, or the parameters that training changes, are created.",
        "the model object, or the parameters that training changes, have been created.",
    ),
    Milestone.TRAINED_MODEL: MilestoneText(
        "the model is trained (fit, a search or cross-validation that fits, or the update in a training loop).",
        "training is finished (the last fit, or after the training loop).",
    ),
    Milestone.EVALUATED_MODEL: MilestoneText(
        "a score or loss on held-out data (validation split, folds, out-of-fold) is computed.",
        "a score or loss on held-out data has been computed.",
    ),
    Milestone.WROTE_PREDICTIONS: MilestoneText(
        "submission.csv is written.",
        "submission.csv has been written.",
    ),
}


def instructions(answer_format: str) -> str:
    """The system message that asks for an answer of the form `answer_format` (`lines` or `rewrite`)."""
    template = (_TEMPLATES / f"{answer_format}.txt").read_text("utf-8")
    if answer_format == "rewrite":
        explained = [f'- print("MILESTONE: {name}") after {MILESTONE_TEXTS[name].rewrite}' for name in MILESTONES]
    else:
        explained = [f"- {name}: {MILESTONE_TEXTS[name].lines}" for name in MILESTONES]
    form = "\n".join(f"{name}: <line>" for name in MILESTONES)
    lines = _in_words(len(MILESTONES) + len(PROGRAM_METRICS))
    return (
        template.replace("{milestones}", "\n".join(explained))
        .replace("{milestone_lines}", form)
        .replace("{line_count}", lines)
    )


def _in_words(number: int) -> str:
    words = ("eight", "nine", "ten", "eleven", "twelve")
    return words[number - 8] if 8 <= number <= 12 else str(number)
