"""Marks of code that did not run: names that were given away, loops without a round, exceptions that were swallowed."""

from __future__ import annotations

import contextlib
import io
import re
import sys
import textwrap
import types
from pathlib import Path

import pytest
import yaml

from trl_mle.instrumentation import ASTInstrumenter, new_nonce, parse_milestones
from trl_mle.types import Program

PROGRAMS = yaml.safe_load((Path(__file__).parents[2] / "data/not_run.yaml").read_text("utf-8"))
HONEST = yaml.safe_load((Path(__file__).parents[2] / "data/honest.yaml").read_text("utf-8"))
MODEL = "class Ridge:\n    def fit(self, X, y): self.w = [X] + [y]\n"


class Frame(dict):
    def __getitem__(self, key):
        return self


def milestones_of(
    text: str, monkeypatch: pytest.MonkeyPatch, steps: str = PROGRAMS["steps"], out: io.StringIO | None = None
) -> set[str]:
    """What the marks of a program say, run here with stand-ins for libraries."""
    stand_in = types.ModuleType("pandas")
    stand_in.read_csv = stand_in.get_dummies = lambda *args: Frame()
    monkeypatch.setitem(sys.modules, "pandas", stand_in)
    metrics = types.ModuleType("sklearn.metrics")
    metrics.roc_auc_score = lambda *args: 1.0
    monkeypatch.setitem(sys.modules, "sklearn.metrics", metrics)
    head = "" if "__future__" in text else "import pandas as pd\n"
    code = head + re.sub("( *)STEPS\n", lambda match: textwrap.indent(steps, match[1]), text)
    nonce = new_nonce()
    instrumented = ASTInstrumenter().instrument(Program("", code), nonce)
    with contextlib.redirect_stdout(out or io.StringIO()) as out, contextlib.suppress(Exception):
        exec(instrumented.code, {"__name__": "__main__"})
    return {*parse_milestones(out.getvalue(), nonce)} - {"imported_libraries"}


@pytest.mark.parametrize("name", PROGRAMS["nothing_done"])
def test_what_did_not_run_is_no_milestone(name, monkeypatch):
    assert milestones_of(PROGRAMS["nothing_done"][name], monkeypatch) == set()


@pytest.mark.parametrize("name", PROGRAMS["done"])
def test_what_ran_is_a_milestone(name, monkeypatch):
    expected = {"loaded_data", "built_features", "trained_model"}
    assert milestones_of(MODEL + PROGRAMS["done"][name], monkeypatch) >= expected


@pytest.mark.parametrize("name", HONEST["programs"])
def test_what_may_have_run_keeps_its_marks(name, monkeypatch):
    program = HONEST["programs"][name]
    # Where a program may bind any name, its marks go to `sys.__stdout__`.
    monkeypatch.setattr(sys, "__stdout__", out := io.StringIO())
    found = milestones_of(HONEST["head"] + program["text"], monkeypatch, HONEST["steps"], out)
    assert found >= set(program["marks"].split())
