"""The instructions hold every milestone, and their wording is that of the answers kept with the corpus."""

import pytest

from trl_mle.instrumentation.llm import milestone_texts
from trl_mle.instrumentation.llm.milestone_texts import MILESTONE_TEXTS, MilestoneText, instructions
from trl_mle.instrumentation.llm.prompt import prompt_version
from trl_mle.types import MILESTONES


def test_every_milestone_is_explained():
    assert tuple(MILESTONE_TEXTS) == MILESTONES
    for answer_format in ("lines", "rewrite"):
        text = instructions(answer_format)
        assert "{" not in text
        assert all(name in text for name in MILESTONES)


@pytest.mark.parametrize(("answer_format", "version"), [("lines", "ea095c02777b"), ("rewrite", "3617d401564f")])
def test_the_wording_that_was_measured(answer_format, version):
    """The figures of docs/instrumentation.md hold for this prompt. Measure anew before you change it."""
    assert prompt_version(answer_format) == version


def test_the_number_of_lines_is_counted(monkeypatch):
    """A new milestone is a line more."""
    names = (*MILESTONES, "eighth")
    monkeypatch.setattr(milestone_texts, "MILESTONES", names)
    monkeypatch.setitem(MILESTONE_TEXTS, "eighth", MilestoneText("it is reached.", "it has been reached."))
    assert "exactly these eleven lines" in instructions("lines")
