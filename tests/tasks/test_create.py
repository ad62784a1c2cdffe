"""create_task from a user's CSV, and the commands for tasks."""

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from trl_mle.cli.tasks import app
from trl_mle.errors import TaskError
from trl_mle.tasks import create_task, load_task


@pytest.fixture
def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = 120
    return pd.DataFrame(
        {
            "size": rng.normal(size=rows).round(3),
            "colour": rng.choice(["red", "blue"], rows),
            "bad": rng.integers(0, 2, rows),
            "kind": rng.choice(["cat", "dog", "ox"], rows, p=[0.6, 0.3, 0.1]),
            "price": rng.gamma(2.0, 100.0, rows).round(2),
        }
    )


@pytest.fixture
def csv(table, tmp_path):
    path = tmp_path / "data.csv"
    table.to_csv(path, index=False)
    return path


@pytest.mark.parametrize(
    ("target", "metric", "columns"),
    [
        ("bad", "roc_auc", ("bad",)),
        ("bad", "accuracy", ("bad",)),
        ("kind", "log_loss", ("cat", "dog", "ox")),
        ("kind", "roc_auc", ("cat", "dog", "ox")),
        ("kind", "f1_macro", ("kind",)),
        ("price", "rmse", ("price",)),
        ("price", "rmsle", ("price",)),
        ("price", "r2", ("price",)),
    ],
)
def test_a_task_for_each_kind_of_metric(csv, table, tmp_path, target, metric, columns):
    task = create_task(csv, target, metric, tmp_path / "my task")
    assert task == load_task(tmp_path / "my task")
    assert (task.id, task.prediction_columns) == ("my-task", columns)
    train, test = pd.read_csv(task.public_dir / "train.csv"), pd.read_csv(task.public_dir / "test.csv")
    answers = pd.read_csv(task.private_dir / "answers.csv")
    assert (len(train), len(test), (answers["split"] == "public").sum()) == (84, 36, 18)
    # Every row of the table occurs once, with its own target.
    together = pd.concat([train, test.merge(answers.drop(columns="split"), on="id")])
    again = together[table.columns].sort_values(list(table.columns)).reset_index(drop=True)
    pd.testing.assert_frame_equal(again, table.sort_values(list(table.columns)).reset_index(drop=True))
    sample = task.grade(task.public_dir / "sample_submission.csv", "all")
    worst, best = task.transform.worst, task.transform.best
    assert 2 * (sample.score - worst) / (best - worst) - 1 == pytest.approx(-0.5, abs=1e-4)


def test_the_seed_decides_the_split(csv, tmp_path):
    tasks = [create_task(csv, "kind", "accuracy", tmp_path / f"t{i}", seed=seed) for i, seed in enumerate((0, 0, 1))]
    first, second, third = ((task.private_dir / "answers.csv").read_bytes() for task in tasks)
    assert first == second != third


def test_classes_are_written_as_integers_where_they_are(table, tmp_path):
    path = tmp_path / "floats.csv"
    table.assign(bad=table["bad"].astype(float)).to_csv(path, index=False)
    task = create_task(path, "bad", "roc_auc", tmp_path / "t")
    assert task.prediction_columns == ("bad",)
    assert set(pd.read_csv(task.private_dir / "answers.csv", dtype=str)["bad"]) == {"0", "1"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": "cost"}, "no column 'cost'; it has 'size', 'colour'"),
        ({"metric": "auc"}, "unknown metric 'auc'"),
        ({"target": "price", "metric": "accuracy"}, "120 different values|holds fractions"),
        ({"target": "kind", "metric": "rmse"}, "rmse needs numbers, but column 'kind' of data.csv holds"),
        ({"target": "size", "metric": "rmsle"}, "at least 0; the least is -"),
        ({"drop": ["kind"]}, "'kind' is the target"),
        ({"drop": ["nothing"]}, "no column 'nothing'"),
        ({"drop": ["size", "colour", "bad", "price"]}, "nothing to predict from"),
        ({"test_fraction": 1.5}, "test_fraction is 1.5"),
        ({"public_fraction": 0.001}, "one part would be empty"),
    ],
)
def test_wrong_arguments_are_named_and_leave_no_folder(csv, tmp_path, arguments, message):
    out = tmp_path / "out"
    with pytest.raises(TaskError, match=message):
        create_task(**({"csv": csv, "target": "kind", "metric": "accuracy", "out": out} | arguments))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.csv"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.assign(id=1), "has a column 'id'.*--drop id"),
        (lambda table: table.assign(kind="ox"), "the same value in each row"),
        (
            lambda table: table.assign(kind=table["kind"].where(table.index > 2)),
            "3 of 120 rows have no value in column 'kind'.*line 2 is empty.*--drop-missing",
        ),
        (lambda table: table.assign(kind=["rare", *table["kind"][1:]]), "class 'rare' of 'kind' has only 1 rows"),
    ],
)
def test_wrong_tables_are_named(table, tmp_path, change, message):
    path = tmp_path / "data.csv"
    change(table).to_csv(path, index=False)
    with pytest.raises(TaskError, match=message):
        # Two seeds, because a single row may land on either side of the split.
        for seed in range(8):
            create_task(path, "kind", "roc_auc", tmp_path / f"out{seed}", seed=seed)


def test_unreadable_tables_and_taken_folders_are_named(csv, tmp_path):
    with pytest.raises(TaskError, match=r"none\.csv does not exist"):
        create_task(tmp_path / "none.csv", "y", "rmse", tmp_path / "out")
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"\xff\xfe\x00" * 11)
    with pytest.raises(TaskError, match="not a readable CSV"):
        create_task(binary, "y", "rmse", tmp_path / "out")
    with pytest.raises(TaskError, match="exists already"):
        create_task(csv, "kind", "accuracy", tmp_path)


def test_a_row_number_is_warned_of(table, tmp_path, caplog):
    path = tmp_path / "data.csv"
    table.assign(number=range(len(table))).to_csv(path, index=False)
    create_task(path, "kind", "accuracy", tmp_path / "out")
    assert "'number' has another whole number in each row" in caplog.text


# -- command line -------------------------------------------------------------------------------------------------


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, list(arguments))
    if code == 0 and result.exception:
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output


def test_list_shows_every_builtin_and_prepares_none(tmp_path, monkeypatch):
    monkeypatch.setenv("TRL_MLE_CACHE", str(tmp_path / "cache"))
    assert "builtin:digits" in run("list")
    assert not (tmp_path / "cache").exists()


def test_prepare_and_show(tmp_path, monkeypatch):
    monkeypatch.setenv("TRL_MLE_CACHE", str(tmp_path))
    assert str(tmp_path) in run("prepare", "builtin:diabetes").replace("\n", "")
    shown = run("show", "builtin:diabetes", "--prompt")
    for part in (
        "rmse (minimize)",
        "linear: 59.5 is -0.895, 52 is 0.895",
        "30 s, 2 GiB, 1 thread",
        "f0 .. f9 (10 columns)",
    ):
        assert part in shown


def test_create_and_show(csv, tmp_path):
    out = tmp_path / "made"
    description = tmp_path / "words.txt"
    description.write_text("Which [bold]animal[/bold] is it?")
    options = ("--csv", csv, "--target", "kind", "--metric", "log_loss", "--out", out, "--description", description)
    output = run("create", *map(str, options), "--drop", "bad", "--drop", "price")
    assert "log_loss (minimize)" in output
    assert "Which [bold]animal[/bold] is it?" in run("show", str(out))
    assert list(pd.read_csv(out / "public" / "test.csv").columns) == ["id", "size", "colour"]


def test_errors_of_the_command_line_are_user_errors(csv):
    with pytest.raises(TaskError, match="no column 'nothing'"):
        run("create", "--csv", str(csv), "--target", "nothing", "--metric", "rmse", "--out", "never")
