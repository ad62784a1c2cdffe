"""`trl-mle experience`, as a user runs it."""

from __future__ import annotations

import sys

import pytest

from tests.support.experience import failed, valid
from trl_mle import ExperienceStore
from trl_mle.cli import main as cli
from trl_mle.experience import STORE_FILE


@pytest.fixture
def run(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setenv("COLUMNS", "160")
        monkeypatch.setattr(sys, "argv", ["trl-mle", "experience", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return caught.value.code, *capsys.readouterr()

    return run


@pytest.fixture
def run_dir(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    with ExperienceStore(folder / STORE_FILE) as store:
        parent = store.add(valid(0.25, task_id="[red]toy"))
        store.add(valid(0.75, task_id="[red]toy"), prompt_kind="improve", parent=parent)
        store.add(failed(task_id="other"))
    return folder


def test_show_has_a_line_for_each_task(run, run_dir):
    for path in (run_dir, run_dir / STORE_FILE):
        code, out, _ = run("show", path)
        lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if "│" in line]
        assert code == 0
        assert ["[red]toy", "2", "2", "2", "0.75", "1", "1", "100%"] in lines
        assert ["other", "1", "0", "0", "-", "0", "0", "-"] in lines


def test_export_and_import_make_a_new_store(run, run_dir, tmp_path):
    code, out, _ = run("export", run_dir, tmp_path / "x.parquet")
    assert (code, out) == (0, f"Outcomes written to {tmp_path}/x.parquet: 3.\n")
    code, out, _ = run("import", tmp_path / "new.sqlite", tmp_path / "x.parquet", "--task", "other")
    assert (code, out) == (0, f"Outcomes added from {tmp_path}/x.parquet to {tmp_path}/new.sqlite: 1.\n")
    with ExperienceStore(tmp_path / "new.sqlite") as store:
        assert [experience.outcome.task_id for experience in store] == ["other"]


@pytest.mark.parametrize("command", [("show",), ("export",), ("import",)])
def test_errors_are_one_line(run, tmp_path, command):
    (tmp_path / "text").write_text("hello")
    arguments = {"show": ["text"], "export": ["text", "x.parquet"], "import": ["new.sqlite", "text"]}[command[0]]
    code, _, error = run(*command, *(tmp_path / name for name in arguments))
    assert code == 2
    assert "text is not an experience store: it is no SQLite file" in " ".join(error.split())
    assert "Traceback" not in error


def test_show_makes_no_store(run, tmp_path):
    code, _, error = run("show", tmp_path)
    assert code == 2
    assert "There is no experience store" in error
    assert list(tmp_path.iterdir()) == []
