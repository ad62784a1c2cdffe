"""The corpus of programs, in the real sandbox: marks change nothing and agree with what a person saw."""

from collections import Counter

import pytest

from tests.support.corpus import Comparison, compare, load_corpus, scores
from trl_mle.instrumentation import ASTInstrumenter
from trl_mle.sandboxes import LocalSandbox
from trl_mle.types import MILESTONES

CORPUS = load_corpus()
FAST = [entry for entry in CORPUS if entry.source == "qwen" and entry.reached is not None][::5]
"""Programs of a language model run for a moment; the slow ones are references and some of the demo's."""


async def run(entries, folder) -> list[Comparison]:
    async with LocalSandbox(workers=1) as sandbox:
        return [await compare(entry, ASTInstrumenter(), sandbox, folder) for entry in entries]


def test_the_corpus_is_large_and_varied():
    assert len(CORPUS) >= 300
    assert len({entry.id for entry in CORPUS}) == len(CORPUS)
    assert len({entry.code for entry in CORPUS}) == len(CORPUS)
    labelled = [entry for entry in CORPUS if entry.reached is not None]
    assert len(labelled) >= 110
    sources = Counter(entry.source for entry in CORPUS)
    assert sources["qwen"] >= 60
    assert set(sources) == {"qwen", "demo", "solutions", "hand", "tests"}
    assert 0.3 < sum(entry.part == "held-out" for entry in labelled) / len(labelled) < 0.7
    for milestone in MILESTONES:
        assert 0 < sum(milestone in entry.reached for entry in labelled) < len(labelled)


# By default, `test_programs_of_the_corpus.py` compares programs with and without marks, and marks with labels.
@pytest.mark.slow
async def test_marks_change_nothing_and_agree_with_labels_on_a_part(tmp_path):
    comparisons = await run(FAST, tmp_path)
    assert {item.entry.id: item.changed for item in comparisons if item.changed} == {}
    score = scores(comparisons)
    assert sum(row.reached for row in score.values()) > 30
    assert all(row.precision is None or row.precision >= 0.9 for row in score.values()), score
    assert all(row.recall is None or row.recall >= 0.8 for row in score.values()), score


@pytest.mark.slow
@pytest.mark.timeout(3000)
async def test_marks_change_nothing_and_agree_with_labels(tmp_path):
    comparisons = await run(CORPUS, tmp_path)
    assert {item.entry.id: item.changed for item in comparisons if item.changed} == {}
    score = scores(comparisons)
    assert all(row.precision >= 0.98 for row in score.values()), score
    # What a language model wrote; and all, among them programs written by hand to be hard.
    written = scores(item for item in comparisons if item.entry.source == "qwen")
    assert all(row.recall >= 0.9 for row in written.values()), written
    assert all(row.recall >= (0.85 if name == "evaluated_model" else 0.94) for name, row in score.items()), score
    learned = scores(item for item in comparisons if item.entry.part == "development")
    assert all(row.recall >= 0.93 for row in learned.values()), learned
