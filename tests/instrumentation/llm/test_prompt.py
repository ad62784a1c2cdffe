"""The prompt of LLMInstrumenter: every milestone has its words, and cached answers stay those of this prompt."""

import pytest

from trl_mle.instrumentation.llm.prompt import ANSWER_LINES, MILESTONE_TEXTS, build_messages, prompt_version
from trl_mle.types import METRICS, MILESTONES


def test_every_milestone_and_metric_is_explained():
    assert tuple(MILESTONE_TEXTS) == tuple(MILESTONES)
    assert set(ANSWER_LINES) == {*MILESTONES, *METRICS}
    lines, rewrite = (build_messages("x = 1", answer_format)[0]["content"] for answer_format in ("lines", "rewrite"))
    for name in MILESTONES:
        assert f"\n- {name}: {MILESTONE_TEXTS[name].reached_by}\n" in lines
        assert f"\n{name}: <line>\n" in lines
        assert f'- print("MILESTONE: {name}") after {MILESTONE_TEXTS[name].print_after}\n' in rewrite
    for name in METRICS:
        assert f"{name}: <variable>" in lines
        assert f'print("METRIC: {name}", variable)' in rewrite


@pytest.mark.parametrize(("answer_format", "version"), [("lines", "ea095c02777b"), ("rewrite", "3617d401564f")])
def test_the_prompt_is_the_one_that_was_measured(answer_format, version):
    """A change of the prompt is meant: update the figures in docs/instrumentation.md, then this version."""
    assert prompt_version(answer_format) == version
