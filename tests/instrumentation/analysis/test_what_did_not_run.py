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
MODEL = "class Ridge:\n    def fit(self, X, y): self.w = [X] + [y]\n"


class Frame(dict):
    def __getitem__(self, key):
        return self


def milestones_of(text: str, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """What the marks of a program say, run here with a stand-in for pandas."""
    stand_in = types.ModuleType("pandas")
    stand_in.read_csv = stand_in.get_dummies = lambda *args: Frame()
    monkeypatch.setitem(sys.modules, "pandas", stand_in)
    head = "" if "__future__" in text else "import pandas as pd\n"
    code = head + re.sub("( *)STEPS\n", lambda match: textwrap.indent(PROGRAMS["steps"], match[1]), text)
    nonce = new_nonce()
    instrumented = ASTInstrumenter().instrument(Program("", code), nonce)
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(Exception):
        exec(instrumented.code, {"__name__": "__main__"})
    return {*parse_milestones(out.getvalue(), nonce)} - {"imported_libraries"}


@pytest.mark.parametrize("name", PROGRAMS["nothing_done"])
def test_what_did_not_run_is_no_milestone(name, monkeypatch):
    assert milestones_of(PROGRAMS["nothing_done"][name], monkeypatch) == set()


@pytest.mark.parametrize("name", PROGRAMS["done"])
def test_what_ran_is_a_milestone(name, monkeypatch):
    expected = {"loaded_data", "built_features", "trained_model"}
    assert milestones_of(MODEL + PROGRAMS["done"][name], monkeypatch) >= expected
