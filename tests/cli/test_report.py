"""`trl-mle report`: runs that go on, runs without a readable configuration, several runs."""

from __future__ import annotations

import pytest
from rich.console import Console
from typer.testing import CliRunner

from tests.support.rollouts import row, write_batch, write_run
from tests.support.tasks import toy_task
from trl_mle.cli import main as cli
from trl_mle.cli.report import default_path, run_tasks


def report(*arguments) -> str:
    result = CliRunner().invoke(cli.app, ["report", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def run_dir(tmp_path):
    folder = write_run(tmp_path / "run")
    task = toy_task(tmp_path / "task")
    (folder / "config.yaml").write_text(f"mle:\n  tasks: ['{task.folder}']\n")
    return folder


def test_a_run_has_summary_picture_and_page(run_dir):
    shown = report(run_dir)
    assert "first fifth" in shown and str(run_dir / "report.html") in shown
    assert (run_dir / "report.html").read_text().startswith("<!doctype html>")
    assert (run_dir / "report.png").exists() and (run_dir / "best/toy/program.py").exists()


def test_several_runs_share_a_page_in_the_folder_of_all(run_dir, tmp_path):
    other = write_run(tmp_path / "deep/er/run")
    report(run_dir, other)
    assert (tmp_path / "report.html").exists() and (other / "summary.json").exists()
    assert default_path([run_dir]) == run_dir / "report.html"


def test_the_page_goes_where_it_is_asked_for(run_dir, tmp_path):
    report(run_dir, "--html", tmp_path / "page.html")
    assert (tmp_path / "page.html").exists() and not (run_dir / "report.html").exists()


@pytest.mark.parametrize(
    "content",
    [None, b"", b"mle: {tasks: null}", b"mle: {tasks: []}", b"\xff", b"mle: [", b"mle: 5", b"mle: " + b"[" * 1500],
)
def test_without_a_readable_configuration_tasks_are_those_of_the_rollouts(run_dir, content):
    """The configuration of a run that is starting may not be there yet; a damaged one costs the scores and nothing else."""
    (run_dir / "config.yaml").unlink()
    if content is not None:
        (run_dir / "config.yaml").write_bytes(content)
    console = Console(record=True, width=500)
    assert run_tasks(run_dir, console) == {}
    shown = console.export_text()
    assert "no config.yaml that names its tasks" in shown and "The task 'toy' is left out" in shown


def test_a_task_that_is_gone_is_named(run_dir):
    (run_dir / "config.yaml").write_text("mle: {tasks: [nowhere, 5]}")
    console = Console(record=True, width=500)
    assert run_tasks(run_dir, console) == {}
    shown = console.export_text()
    assert "'nowhere' is left out" in shown and "'5' is left out" in shown


def test_a_folder_without_rollouts_and_one_given_twice_are_user_errors(run_dir, tmp_path, monkeypatch, capsys):
    for arguments, words in [([tmp_path / "nowhere"], "No rollouts in"), ([run_dir, run_dir], "given twice")]:
        monkeypatch.setattr("sys.argv", ["trl-mle", "report", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        assert stopped.value.code == 2
        assert words in capsys.readouterr().err


def test_rollouts_without_programs_have_a_page(tmp_path):
    """`AsyncDurationAwareTrainer` keeps durations and rewards alone."""
    kept = {"action_duration", "mle_reward"}
    write_batch(tmp_path / "run", 0, [{k: v for k, v in row("valid", 0.5).items() if k in kept}] * 4)
    assert "no summary" in report(tmp_path / "run")
    assert (tmp_path / "run/report.html").exists()
