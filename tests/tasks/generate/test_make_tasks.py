"""The tasks of one table: loadable, verified, without the answers in reach, the same every time."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tests.tasks.generate.tables import houses, visits
from trl_mle.grading import get_metric
from trl_mle.tasks import load_task
from trl_mle.tasks.generate import verify
from trl_mle.tasks.generate.build import make_tasks
from trl_mle.tasks.generate.duplicates import Relation
from trl_mle.tasks.generate.refusal import Refusal
from trl_mle.tasks.generate.settings import GenerateSettings
from trl_mle.tasks.generate.sources.base import SourceTable

SETTINGS = GenerateSettings(("somewhere",), tries=1, per_table=1)
RELATION = Relation("family", None)


def table(name: str, **changes: object) -> SourceTable:
    return replace(SourceTable("somewhere", name, f"The {name}", "a test", "CC0"), **changes)


def make(frame: pd.DataFrame, name: str, out, disguised: bool = False, settings: GenerateSettings = SETTINGS):
    record = make_tasks(table(name), frame, RELATION, disguised, settings, out)
    assert not record.reason, record
    return record


def test_a_number_by_time(tmp_path):
    record = make(houses(), "houses", tmp_path / "one")
    (made,) = record.tasks
    assert made.kept, made
    assert (made.target, made.metric, made.split) == ("price", "rmse", "time: listed")
    assert made.leaks == {"price_cents": "an affine function of the target"}
    assert set(record.dropped) == {"house_id", "age_again", "country"}
    task = load_task(tmp_path / "one" / made.id)
    train, test = (pd.read_csv(task.public_dir / f"{name}.csv") for name in ("train", "test"))
    assert list(test.columns) == ["id", "size", "age", "quality", "listed"]
    assert not set(train["id"]) & set(test["id"]) and train["listed"].max() < test["listed"].min()
    answers = pd.read_csv(task.private_dir / "answers.csv")
    assert (answers["split"].value_counts() == [made.public_rows, made.private_rows]).all()
    for part in ("public", "private"):
        scores = made.scores[part]
        assert scores["reference"] < scores["baseline"] < scores["dummy"]
        assert 0 < scores["margin_low"] <= scores["margin"] <= scores["margin_high"]
    assert task.transform.worst > task.transform.best > 0
    assert json.loads((task.folder / "provenance.json").read_text())["dropped"]["country"] == "constant"
    (task.folder / "task.yaml").unlink()  # as of a process that was killed before it had written its record
    (again,) = make(houses(), "houses", tmp_path / "one").tasks
    assert again.digest == made.digest


def test_a_class_by_entity(tmp_path):
    (made,) = make(visits(), "visits", tmp_path).tasks
    assert made.kept, made
    assert (made.target, made.metric, made.split) == ("cured", "log_loss", "group: subject")
    assert made.leaks == {"code": "each of its values goes with one target"}
    task = load_task(tmp_path / made.id)
    test = pd.read_csv(task.public_dir / "test.csv")
    assert list(test.columns) == ["id", "dose", "weight", "note"]
    assert task.prediction_columns == ("no", "yes")
    assert "other entities" in task.description


@pytest.mark.slow
def test_a_disguised_table_gives_a_task_without_its_names(tmp_path):
    frame = houses()[["size", "age", "quality", "price"]]
    (made,) = make(frame, "houses", tmp_path, disguised=True, settings=replace(SETTINGS, rows=100)).tasks
    assert made.kept, made
    assert made.train_rows == 100 and made.id.endswith("-rows100")
    assert list(pd.read_csv(tmp_path / made.id / "public" / "test.csv").columns) == ["id", "f0", "f1", "f2"]


def test_names_of_columns_are_data_to_the_programs(tmp_path):
    frame = houses()[["size", "age", "quality", "price"]]
    frame.columns = ["{{metric}}", "a'\"\\", "\"); raise SystemExit('hostile') #", "x\ny{{target}}"]
    (made,) = make(frame, "hostile", tmp_path).tasks
    assert made.kept, made
    assert "/" not in made.id and load_task(tmp_path / made.id).target_column == made.target == "x y{{target}}"


def test_what_makes_no_task_is_refused_with_a_reason(tmp_path):
    rng = np.random.default_rng(0)
    noise = pd.DataFrame(rng.normal(size=(300, 3)), columns=list("abc"))
    assert make_tasks(table("noise"), noise, RELATION, False, SETTINGS, tmp_path).reason == "no target"
    record = make_tasks(table("copy"), noise, Relation("other", "other"), False, SETTINGS, tmp_path)
    assert (record.reason, record.detail) == ("copy of another table", "other")
    x = rng.choice([0, 1, 2], 400)
    few = pd.DataFrame({"x": x, "y": np.where(rng.random(400) < 0.8, x, (x + 1) % 3)})
    (made,) = make_tasks(table("few"), few, RELATION, False, SETTINGS, tmp_path).tasks
    assert (made.kept, made.reason) == (False, "too few different rows")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("while True: pass", "the solution is too slow"),
        ("1 / 0", "the solution fails"),
        ("x = 1", "the solution fails"),
    ],
)
def test_a_program_that_does_not_deliver_is_refused(tmp_path, code, reason):
    (tmp_path / "solution.py").write_text(code)
    with pytest.raises(Refusal) as refusal:
        verify.run_program(tmp_path / "solution.py", tmp_path, cpu_s=0.2)
    assert refusal.value.reason == reason


@pytest.mark.parametrize("name", verify.ROW_LOSSES)
def test_losses_of_rows_have_the_metric_as_their_mean(name):
    rng = np.random.default_rng(0)
    metric = get_metric(name)
    if metric.predicts == "number":
        truth, predicted = rng.uniform(0, 9, 50), rng.uniform(0, 9, 50)
    else:
        truth = rng.integers(0, 3, 50)
        predicted = rng.dirichlet([1, 1, 1], 50) if name == "log_loss" else rng.integers(0, 3, 50)
    mean = verify.ROW_LOSSES[name](truth, predicted).mean()
    mean = {"rmse": np.sqrt, "rmsle": np.sqrt, "accuracy": lambda loss: 1 - loss}.get(name, np.asarray)(mean)
    assert metric.score(truth, predicted, 3) == pytest.approx(float(mean), rel=1e-12)
