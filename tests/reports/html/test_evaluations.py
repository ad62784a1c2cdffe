"""Evaluations in the HTML report: a real table of the package's own, and files of any form."""

from __future__ import annotations

import pytest

from tests.support.rollouts import write_run
from trl_mle.errors import ConfigError
from trl_mle.evaluation.table import TABLE_FILE, EvaluationTable
from trl_mle.reports.html import write_html
from trl_mle.reports.html.evaluations import evaluations, tables


def test_estimates_have_their_intervals():
    entry = {
        "policy": "demo",
        "task_id": "toy",
        "n": 12,
        "valid_share": {"value": 5 / 12, "low": 0.193, "high": 0.681},
    }
    best = {
        "best": {"private_score": 314.98, "public_score": 319.3},
        "best_at": {"1": {"value": 366.8, "low": None, "high": None}, "12": 300},
    }
    shown = tables({"entries": [entry | best], "settings": {"n": 12}})
    assert [table["caption"].split(",")[0] for table in shown] == [
        "Policies and tasks",
        "Private score of the best of k",
        "Settings",
    ]
    assert dict(zip(shown[0]["headings"], shown[0]["rows"][0], strict=True)) == {
        "policy": "demo",
        "task": "toy",
        "samples": "12",
        "valid share": "0.417 [0.193, 0.681]",
        "best: public": "319.3",
        "best: private": "315",
    }
    assert shown[1]["headings"][3:] == ["k = 1", "k = 12"] and shown[1]["rows"][0][3:] == ["367", "300"]


HUGE = f'{{"entries": [{{"policy": "\\ud800", "n": 1{"0" * 400}, "best_at": {{"{"9" * 5000}": 1}}}}]}}'
"""Numbers that are too large for a float and for `int`, and half of a character."""


@pytest.mark.parametrize(
    "content", ["", "[1]", "{}", '{"entries": 5}', '{"entries": [5, {"best_at": [1], "best": 3}]}', "[" * 5000, HUGE]
)
def test_files_of_any_form_cost_nothing_but_themselves(tmp_path, content):
    run = write_run(tmp_path / "run")
    (run / TABLE_FILE).write_text(content)
    assert "<h1>run</h1>" in write_html([run], tmp_path / "report.html").read_text()


def test_an_evaluation_is_found_in_a_run_and_by_name(tmp_path):
    run = write_run(tmp_path / "run")
    for folder in (run / "eval", tmp_path / "other"):
        folder.mkdir()
        EvaluationTable(entries=(), settings={"n": 128, "folder": folder.name}).write(folder)
    shown = evaluations([run], [tmp_path / "other", run / "eval"])
    assert [entry["title"] for entry in shown] == ["other", "eval"]
    EvaluationTable(entries=(), settings={}).write(run)
    assert [entry["title"] for entry in evaluations([run])] == ["run", "run/eval"]
    assert shown[0]["tables"][0]["rows"] == [["128", "other"]]
    assert "Evaluation" in write_html([run], tmp_path / "report.html").read_text()
    with pytest.raises(ConfigError, match=r"No evaluation\.json in"):
        evaluations([], [tmp_path])
