"""`benchmarks/instrumentation.py` with a language model: nothing is asked twice, and the figures are those of the answers."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

from tests.support.corpus import Entry
from trl_mle.instrumentation import LLMInstrumenter
from trl_mle.language_models.backends import Answer, BackendError

_FOLDER = Path(__file__).parents[2] / "benchmarks"
READ = "import pandas as pd\ntrain = pd.read_csv('input/train.csv')\n"
ENTRIES = [
    Entry("good", "demo", "builtin:segment", READ, ("imported_libraries", "loaded_data")),
    Entry("bad", "demo", "builtin:segment", READ + "print('bad')\n", ("imported_libraries", "loaded_data")),
    Entry("score", "qwen", "builtin:segment", READ + "score = float(len(train))\n", None),
    Entry("broken", "qwen", "builtin:segment", "import (", ()),
]


@pytest.fixture(scope="module")
def bench():
    sys.path.insert(0, str(_FOLDER))
    try:
        yield importlib.import_module("instrumentation")
    finally:
        sys.path.remove(str(_FOLDER))


class Model:
    """Answers by what stands in the program; fails after `answers` answers."""

    model = "m"

    def __init__(self, answers=100):
        self.left = answers
        self.asked = 0

    async def complete(self, messages):
        if not self.left:
            raise BackendError("gone", down=True)
        self.left -= 1
        self.asked += 1
        code = messages[-1]["content"]
        if "bad" in code:
            return Answer("I cannot say.", False)
        return Answer("loaded_data: train = pd.read_csv('input/train.csv')\ntraining_score: score", False)

    async def aclose(self):
        return None


def make(folder, backend, endpoint=None):
    return LLMInstrumenter(backend=backend, endpoint=endpoint, model="m", cache_dir=str(folder), retries=0)


async def test_a_run_that_broke_off_goes_on_and_asks_nothing_twice(bench, tmp_path):
    broken = Model(answers=1)
    with pytest.raises(SystemExit, match="gone"):
        await bench.llm.ask(ENTRIES, make(tmp_path, broken, "http://127.0.0.1:1/v1"), tmp_path)
    rest = Model()
    asked = await bench.llm.ask(ENTRIES, make(tmp_path, rest, "http://127.0.0.1:1/v1"), tmp_path)
    assert (broken.asked, rest.asked) == (1, 2)
    assert list(asked) == ["good", "bad", "score", "broken"]
    assert [found.seconds is not None for found in asked.values()] == [True, True, True, False]
    again = await bench.llm.ask(ENTRIES, make(tmp_path, Model(0), "http://127.0.0.1:1/v1"), tmp_path)
    assert again == asked  # the seconds too: they are those of the question, not of the cache


async def test_without_an_endpoint_only_kept_answers_count(bench, tmp_path):
    await bench.llm.ask(ENTRIES[:1], make(tmp_path, Model()), tmp_path)
    instrumenter, folder = bench.llm.make_instrumenter(None, "m", "lines", tmp_path)
    asked = await bench.llm.ask(ENTRIES, instrumenter, folder)
    assert list(asked) == ["good", "broken"]


async def test_the_figures_of_a_run(bench, tmp_path):
    instrumenter = make(tmp_path, Model())
    asked = await bench.llm.ask(ENTRIES, instrumenter, tmp_path)
    comparisons = await bench.measure(ENTRIES, instrumenter, 1)
    found = bench.llm.report(comparisons, asked, instrumenter)
    assert found["never_sent"] == {"not_parsed": 1}
    assert found["accepted"]["all"] == {"programs": 3, "accepted": 2, "share": 0.6667}
    assert found["accepted"]["source: demo"] == {"programs": 2, "accepted": 1, "share": 0.5}
    assert found["rejected"] == {"llm_not_an_answer": 1}
    assert found["claims"] == {"kept": 3, "moved": 0, "dropped": 1, "added": 2}
    assert found["seconds_a_program"]["measured"] == 3
    assert found["metrics"]["programs_with_a_value"] == found["metrics"]["values"] == 1
    assert found["metrics"]["training_score"] == {"reported": 1, "with_a_value": 1}
    whole = bench.report(comparisons)
    assert whole["changed"] == {}
    # The model names no imports; the rules know them, in accepted answers too.
    assert whole["scores"]["all"]["imported_libraries"]["recall"] == 1.0
    alone = bench.report(bench.llm.accepted(comparisons))["scores"]["all"]
    assert alone["imported_libraries"]["recall"] == 1.0
    assert alone["loaded_data"] == {"reached": 1, "marked": 1, "both": 1, "precision": 1.0, "recall": 1.0}


def test_runs_stand_beside_each_other(bench, tmp_path):
    out = tmp_path / "runs.json"
    for name, value in (("a", 1), ("b", 2), ("a", 3)):
        bench.llm.write({"value": value}, name, out)
    assert json.loads(out.read_text()) == {"a": {"value": 3}, "b": {"value": 2}}


def test_the_command_holds_nothing_of_the_machine(bench, monkeypatch):
    line = "x --instrumenter llm --model m --labelled --sample 5 --cache /home/me --out /home/me/x.json --run a"
    monkeypatch.setattr(sys, "argv", line.split())
    args = bench.arguments()
    assert "/home" not in bench.words(args)
    assert "--labelled" in bench.words(args) and "--sample 5" in bench.words(args)
    chosen = bench.chosen(args)
    assert len(chosen) == 5 and chosen == bench.chosen(args)
    assert all(entry.reached is not None for entry in chosen)
