"""The report of a run: files on disk, tables that fit the terminal, and the section of the model card."""

from __future__ import annotations

import io
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from tests.support.rollouts import row, write_batch, write_run
from tests.support.tasks import toy_task
from trl_mle.evaluation import Validation
from trl_mle.evaluation.table import EvaluationTable
from trl_mle.evaluation.validate import ProgramScore
from trl_mle.outcomes import metric_column
from trl_mle.reports import report_run, scores_section
from trl_mle.reports.evaluation_tables import show_evaluation

LONG_ID = "mlebench:new-york-city-taxi-fare-prediction-with-a-very-long-name"


@pytest.fixture
def run_dir(tmp_path):
    return write_run(tmp_path / "run")


def test_report_writes_programs_summary_and_picture(run_dir, tmp_path):
    task = toy_task(tmp_path)
    own = {"toy": Validation("toy", ProgramScore(2.5, 2.6, 0.1), ProgramScore(0.1, 0.2, 3.0))}
    console = Console(record=True, width=120)
    summary = report_run(run_dir, {"toy": task}, own, console)
    shown = console.export_text()
    for words in ("first fifth", "last fifth", "2.6", "3.1", "0.2", "2 infrastructure faults", "report.png"):
        assert words in shown
    assert (run_dir / "best/toy/program.py").read_text() == "print(9)"
    assert json.loads((run_dir / "best/toy/best.json").read_text())["step"] == 9
    assert json.loads((run_dir / "summary.json").read_text())["best"]["toy"]["private_score"] == pytest.approx(3.1)
    assert (run_dir / "report.png").read_bytes().startswith(b"\x89PNG")
    assert "private score 3.1 (baseline 2.6, reference 0.2)" in scores_section(summary, own)


def test_a_run_without_any_valid_program_can_be_reported(tmp_path):
    folder = tmp_path / "run"
    write_batch(folder, 0, [row("failure", -10.0, seconds=None)])
    console = Console(record=True, width=120)
    summary = report_run(folder, {"toy": toy_task(tmp_path)}, console=console)
    assert "none valid" in console.export_text()
    assert summary.best == {}
    assert json.loads((folder / "summary.json").read_text())["first"]["duration_s"] is None


@pytest.mark.parametrize("task_id", ["builtin:computers", LONG_ID])
def test_the_tables_fit_80_columns(tmp_path, monkeypatch, capsys, task_id):
    """No score is cut, and the id of the task can be put together again."""
    monkeypatch.setenv("COLUMNS", "80")
    task = replace(toy_task(tmp_path), id=task_id, metric="median_absolute_error")
    valid = row("valid", 0.5, -12345.6, -12345.6, task_id=task_id) | {metric_column("validation_score"): 0.0123456}
    write_batch(tmp_path / "run", 0, [valid, row("fault", None, seconds=None, program=None, task_id=task_id)])
    validation = Validation(task_id, ProgramScore(1, -2.345e-05, 1), ProgramScore(1, -1.235e07, 1))
    report_run(tmp_path / "run", {task_id: task}, {task_id: validation})
    tables, _, _ = capsys.readouterr().out.partition("Files:")
    lines = tables.splitlines()
    assert max(map(len, lines)) <= 80
    for score in ("-1.235e+04", "-2.345e-05", "-1.235e+07", "0.01235"):
        assert score in tables
    cells = [line.split("│") for line in lines if line.startswith("│")]
    assert all(line.endswith(("│", "┃", "┓", "┩", "┘")) for line in lines if line[0] in "│┃┏┡└"), (
        "no border is cut off"
    )
    assert f"{task_id}median_absolute_error(lowerisbetter)" in "".join(row[1] for row in cells).replace(" ", "")


@pytest.mark.parametrize("valid", [True, False])
def test_every_reward_function_is_shown(tmp_path, valid):
    folder = tmp_path / "run"
    for batch in range(5):
        rewards = {"short_reward": batch / 8, "step": -1.0}
        good = row("valid", 0.5, 2.0, 3.0) if valid else row("failure", -10.0)
        rows = [good | rewards, row("fault", None, program=None) | rewards | {"short_reward": None}]
        write_batch(
            folder,
            batch,
            [{"logged_step" if key == "step" else key: value for key, value in each.items()} for each in rows],
        )
    names = ("mle_reward", "short_reward", "step", "of_an_environment")
    entries = [{"loss": 0.1}, {f"rewards/{name}/mean": 0.0 for name in names}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries) + '{"cut')
    console = Console(record=True, width=80)
    summary = report_run(folder, {"toy": toy_task(tmp_path)}, console=console)
    assert summary.first.reward_means == {"mle_reward": 0.5 if valid else -10, "short_reward": 0.0, "step": -1.0}
    assert summary.last.reward_means["short_reward"] == 0.5
    shown = [line.split("│")[1:4] for line in console.export_text().splitlines() if "short_reward" in line]
    assert [[cell.strip() for cell in line] for line in shown] == [["short_reward", "0", "0.5"]]
    assert "| `short_reward` | 0 | 0.5 |" in scores_section(summary, {})
    assert json.loads((folder / "summary.json").read_text())["last"]["reward_means"]["step"] == -1.0
    assert (folder / "report.png").read_bytes().startswith(b"\x89PNG")


def test_with_one_reward_function_nothing_is_said_twice(run_dir, tmp_path):
    (run_dir / "metrics.jsonl").write_text(json.dumps({"rewards/mle_reward/mean": 0.0}))
    console = Console(record=True, width=80)
    summary = report_run(run_dir, {"toy": toy_task(tmp_path)}, console=console)
    assert "each reward function" not in console.export_text()
    assert "reward function" not in scores_section(summary, {})


def test_texts_of_a_task_cannot_write_over_the_terminal(run_dir, tmp_path):
    task = replace(toy_task(tmp_path), metric="\x1b[2Jown")
    console = Console(file=io.StringIO(), width=120)
    report_run(run_dir, {"toy": task}, console=console, html=False)
    show_evaluation(EvaluationTable((), problems={"policy on toy": "bad\x1b[2J column"}), console)
    shown = console.file.getvalue()
    assert "own (lower is better)" in shown and "policy on toy: bad column." in shown and "\x1b" not in shown


def test_the_files_of_a_report_are_replaced_as_a_whole(run_dir, tmp_path, monkeypatch):
    replaced, replace_file = [], os.replace
    monkeypatch.setattr(os, "replace", lambda old, new: (replaced.append(Path(new).name), replace_file(old, new)))
    report_run(run_dir, {"toy": toy_task(tmp_path)}, console=Console(file=io.StringIO()), html=False)
    assert {"best.json", "program.py", "report.png", "summary.json"} <= set(replaced)
