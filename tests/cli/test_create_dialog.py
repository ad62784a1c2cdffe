"""`trl-mle tasks create` as a user calls it: proposals, questions on a terminal, and hostile files."""

from __future__ import annotations

import io
import os
import sys
import threading
import zipfile
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from typer.testing import CliRunner

from trl_mle.cli.tasks import app, create_dialog
from trl_mle.errors import TaskError
from trl_mle.tasks import load_task, table_file
from trl_mle.tasks.create import create_task

ROWS = 120


@pytest.fixture
def csv(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    columns = {
        "row_id": range(ROWS),
        "size": rng.normal(size=ROWS).round(3),
        "colour": rng.choice(["red", "blue"], ROWS),
    }
    pd.DataFrame(columns | {"grade": rng.integers(1, 6, ROWS)}).to_csv("data.csv", index=False)
    return tmp_path / "data.csv"


def run(*arguments: object) -> str:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["create", *map(str, arguments)])
    if result.exception:
        raise result.exception
    return result.output


class Terminal(Console):
    """A terminal whose user gives `answers`."""

    def __init__(self, *answers: str):
        super().__init__(file=io.StringIO(), force_terminal=True, color_system=None, width=160)
        self.answers = list(answers)

    def input(self, prompt="", **_):
        self.print(prompt, end="")
        return self.answers.pop(0)


def on_terminal(monkeypatch, *answers: str) -> Terminal:
    terminal = Terminal(*answers)
    # The package has a function of the module's name.
    monkeypatch.setattr(sys.modules["trl_mle.cli.tasks.create"], "Console", lambda: terminal)
    monkeypatch.setattr(create_dialog, "has_terminal", lambda console: True)
    return terminal


def test_target_and_metric_make_a_task_without_a_question(csv):
    assert "data is a task of accuracy" in run("--csv", csv, "--target", "colour", "--metric", "accuracy")
    assert load_task("data").target_column == "colour"


def test_without_a_terminal_nothing_is_guessed_silently(csv):
    with pytest.raises(TaskError, match=r"grade' holds 5 different whole numbers.*--metric accuracy.*--metric rmse"):
        run(csv)
    with pytest.raises(TaskError, match=r"not confirmed.*--yes.*`--target grade --metric rmse --drop row_id`"):
        run(csv, "--metric", "rmse")
    assert [path.name for path in csv.parent.iterdir()] == ["data.csv"]
    out = run(csv, "--metric", "rmse", "--yes")
    assert "left out: the row ids" in out and "grade (by its name, as the last column)" in out
    assert list(pd.read_csv("data/public/train.csv").columns) == ["id", "size", "colour", "grade"]


def test_a_wide_table_shows_its_target(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    columns = {f"x{place}": np.random.default_rng(place).normal(size=ROWS).round(3) for place in range(31)}
    pd.DataFrame(columns | {"price": np.arange(ROWS) % 37 + 0.5}).to_csv("wide.csv", index=False)
    shown = run("wide.csv", "--yes")
    assert any("price" in line and "target" in line for line in shown.splitlines() if "│" in line)
    assert "x29" in shown and "x30" not in shown
    assert "and 1 more column\n" in shown


def test_questions_on_a_terminal(csv, monkeypatch):
    terminal = on_terminal(monkeypatch, "7", "", "2", "y")
    run(csv)
    shown = terminal.file.getvalue()
    assert shown.count("1 to 2: ") == 3 and "they are classes" in shown and "Make this task?" in shown
    assert load_task("data").metric == "rmse"


def test_texts_of_a_table_cannot_write_over_the_terminal():
    terminal = Terminal("1")
    question = SimpleNamespace(text="Is a\x1b[2Jb missing?", choices=[SimpleNamespace(label="a\x1bb", flags="--x")])
    assert create_dialog.ask(question, terminal) == 0
    shown = terminal.file.getvalue()
    assert "Is ab missing?" in shown and "1  ab  (--x)" in shown and "\x1b" not in shown


def test_a_refusal_makes_nothing(csv, monkeypatch):
    on_terminal(monkeypatch, "n")
    with pytest.raises(TaskError, match="no task was made"):
        run(csv, "--metric", "rmse")
    assert [path.name for path in csv.parent.iterdir()] == ["data.csv"]


def test_each_answer_is_an_argument_that_create_takes(tmp_path, monkeypatch):
    """Whatever is asked, the first answers lead to a task, and the same options make an equal one."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(
        {
            "shop_id": rng.integers(0, 30, ROWS),
            "day": pd.date_range("2024-01-01", periods=ROWS).strftime("%Y-%m-%d"),
            "code": "",
            "label": [*["a"] * 60, *["b"] * 50, *["c"] * 4, *["d"] * 3, *[""] * 3],
        }
    )
    frame["code"] = frame["label"].map({"a": "1", "b": "2", "c": "3", "d": "4", "": "5"})
    frame.sample(frac=1, random_state=0).to_csv("shops.csv", index=False)
    terminal = on_terminal(monkeypatch, *["1"] * 4, "")
    run("shops.csv")
    assert terminal.answers == []
    task = load_task("shops")
    train = pd.read_csv(task.public_dir / "train.csv")
    test = pd.read_csv(task.public_dir / "test.csv")
    assert set(train["label"]) == {"a", "b"} and "code" not in train.columns
    assert not set(train["shop_id"]) & set(test["shop_id"])


def test_the_table_is_given_once(csv):
    for arguments in ((), (csv, "--csv", csv)):
        with pytest.raises(TaskError, match="give the table once"):
            run(*arguments)


# -- hostile and broken files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("yes", [True, False])
def test_a_header_of_100_000_columns(tmp_path, yes):
    path = tmp_path / "wide.csv"
    names = [f"c{at}" for at in range(100_000)]
    path.write_text(",".join(names) + "\n" + "".join(",".join(["1"] * 100_000) + "\n" for _ in range(3)))
    with pytest.raises(TaskError, match="100000 columns"):
        create_task(path, *(("c5", "rmse") if yes else ()), out=tmp_path / "task")


def test_a_pipe_and_a_folder_named_as_a_table(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "folder.csv").mkdir()
    for name, message in (
        ("pipe.csv", "not a regular file"),
        ("folder.csv", "is a folder; give the path of a CSV file"),
    ):
        with pytest.raises(TaskError, match=message):
            create_task(tmp_path / name, out=tmp_path / "task")


def test_archives_that_lie(tmp_path, monkeypatch):
    monkeypatch.setattr(table_file, "MAX_TABLE_BYTES", 10_000)
    bomb, two, outside = (tmp_path / f"{name}.zip" for name in ("bomb", "two", "outside"))
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.csv", "a,target\n" + "0,0\n" * 10**6)
    with zipfile.ZipFile(two, "w") as archive:
        archive.writestr("a.csv", "a,target\n1,2\n")
        archive.writestr("b.csv", "a,target\n1,2\n")
    with zipfile.ZipFile(outside, "w") as archive:
        archive.writestr("../../evil.csv", "a,target\n" + "".join(f"{at % 7},{at % 2}\n" for at in range(99)))
    for path, message in ((bomb, "MiB, too much"), (two, "holds 2 files")):
        with pytest.raises(TaskError, match=message):
            create_task(path, out=tmp_path / "task")
    create_task(outside, "target", "accuracy", tmp_path / "task")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bomb.zip", "outside.zip", "task", "two.zip"]
    assert not (tmp_path.parent / "evil.csv").exists()


def test_a_table_that_changes_while_it_is_read_is_one_state_or_an_error(tmp_path):
    path = tmp_path / "live.csv"
    states = ["a,target\n" + "".join(f"{at % 5},{kind}{at % 2}\n" for at in range(200)) for kind in "xy"]
    path.write_text(states[0])
    stop = threading.Event()

    def write():
        while not stop.is_set():
            for state in states:
                path.write_text(state)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for at in range(5):
            try:
                task = create_task(path, "target", "accuracy", tmp_path / f"task{at}")
            except TaskError:
                continue
            train = pd.read_csv(task.public_dir / "train.csv")
            assert {label[0] for label in train["target"]} <= {"x", "y"} and len(train) <= 140
    finally:
        stop.set()
        writer.join()
    assert not [path for path in tmp_path.iterdir() if "preparing" in path.name]
