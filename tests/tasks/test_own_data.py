"""Twelve tables that nobody prepared for `tasks create`: a sensible task or a clear question, and none silently wrong."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trl_mle.errors import TaskError
from trl_mle.tasks import Task, create_task
from trl_mle.tasks.create import Request, propose

ROWS = 160


def features(rng: np.random.Generator, rows: int = ROWS) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "size": rng.normal(20, 5, rows).round(2),
            "colour": rng.choice(["red", "blue", "green"], rows),
            "age": rng.integers(1, 90, rows),
        }
    )


@pytest.fixture
def rng():
    return np.random.default_rng(14)


def made(path: Path, **options) -> Task:
    return create_task(path, out=path.with_name("task"), **options)


def tables(task: Task) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Train rows, test rows with their answers, and the sample submission."""
    train, test = pd.read_csv(task.public_dir / "train.csv"), pd.read_csv(task.public_dir / "test.csv")
    answers = pd.read_csv(task.private_dir / "answers.csv")
    assert not {*task.target_columns, "split"} & set(test.columns)
    return train, test.merge(answers, on=task.id_column), pd.read_csv(task.public_dir / "sample_submission.csv")


def test_1_semicolons_decimal_commas_and_cp1252(rng, tmp_path):
    path = tmp_path / "häuser.csv"
    frame = features(rng).assign(Straße=rng.choice(["Süd", "Nord"], ROWS), Preis=rng.gamma(2, 100, ROWS).round(2))
    frame.to_csv(path, sep=";", decimal=",", index=False, encoding="cp1252")
    with pytest.raises(TaskError, match="--encoding"):
        made(path)
    with pytest.raises(TaskError, match=r"Which column is to be predicted.*--target Preis"):
        made(path, encoding="cp1252")
    task = made(path, encoding="cp1252", target="Preis")
    train, test, _ = tables(task)
    assert task.metric == "rmse" and set(train["Straße"]) == {"Süd", "Nord"}
    together = pd.concat([train, test])["Preis"].sort_values().to_numpy()
    assert np.allclose(together, np.sort(frame["Preis"])) and train["size"].dtype == float


def test_2_tabs_with_a_byte_order_mark(rng, tmp_path):
    path = tmp_path / "plants.txt"
    features(rng).assign(species=rng.choice(["oak", "ash", "elm"], ROWS)).to_csv(
        path, sep="\t", index=False, encoding="utf-16"
    )
    task = made(path)
    assert (task.target_column, task.metric, task.prediction_columns) == ("species", "accuracy", ("species",))


def test_3_gzip_with_an_index_and_whole_numbers_that_may_be_classes(rng, tmp_path):
    path = tmp_path / "wine.csv.gz"
    with gzip.open(path, "wt") as file:
        features(rng).assign(quality=rng.integers(3, 9, ROWS)).to_csv(file)
    with pytest.raises(TaskError, match=r"6 different whole numbers.*--metric accuracy.*--metric rmse"):
        made(path)
    task = made(path, metric="rmse")
    assert task.target_column == "quality" and list(tables(task)[0].columns)[1:4] == ["size", "colour", "age"]


def test_4_parquet_with_dates_in_order(rng, tmp_path):
    path = tmp_path / "sales.parquet"
    features(rng).assign(day=pd.date_range("2023-01-30", periods=ROWS), sales=rng.gamma(2, 9, ROWS)).to_parquet(path)
    with pytest.raises(TaskError, match=r"in the order of column 'day'.*--split time:day.*--split random"):
        made(path)
    task = made(path, split="time:day")
    train, test, _ = tables(task)
    public, private = (test[test["split"] == part] for part in ("public", "private"))
    assert train["day"].is_monotonic_increasing and str(train["day"].iloc[0]).startswith("2023-01-30")
    assert train["day"].max() < public["day"].min() <= public["day"].max() < private["day"].min()
    assert (len(train), len(public), len(private)) == (112, 24, 24)
    assert "The rows of test.csv are later than those of train.csv, by `day`." in task.description


def test_5_excel_with_currency(rng, tmp_path):
    path = tmp_path / "cars.xlsx"
    pytest.importorskip("openpyxl")
    prices = rng.integers(1000, 90000, ROWS)
    features(rng).assign(price=[f"${price:,}.00" for price in prices]).to_excel(path, index=False)
    task = made(path)
    train, test, _ = tables(task)
    assert task.metric == "rmse" and sorted(pd.concat([train, test])["price"]) == sorted(prices)


def test_6_missing_and_rare_targets(rng, tmp_path, caplog):
    path = tmp_path / "animals.csv"
    kinds = [*["cat"] * 80, *["dog"] * 60, *["ox"] * 3, *["emu"] * 8, *[""] * 9]
    features(rng).assign(label=rng.permutation(kinds)).to_csv(path, index=False)
    with pytest.raises(TaskError) as caught:
        made(path)
    for words in ("9 of 160 rows have no value", "--drop-missing-targets", "'ox' (3)", "--rare drop", "--rare merge"):
        assert words in str(caught.value)
    task = made(path, drop_missing_targets=True, rare="merge")
    train, test, _ = tables(task)
    assert pd.concat([train, test])["label"].value_counts().to_dict() == {"cat": 80, "dog": 60, "other": 11}
    assert "'emu' (8)" in caplog.text and "9 of 160 rows have no target" in caplog.text


def test_7_an_id_that_repeats(rng, tmp_path):
    path = tmp_path / "patients.csv"
    patient = rng.integers(0, 40, ROWS)
    frame = features(rng).assign(patient_id=[f"p{number}" for number in patient], outcome=patient % 2)
    frame.to_csv(path, index=False)
    with pytest.raises(
        TaskError, match=r"'patient_id' repeats: 160 rows have 4\d? different.*--split group:patient_id"
    ):
        made(path, keep="patient_id")
    task = made(path, split="group:patient_id", keep="patient_id")
    train, test, _ = tables(task)
    public, private = (set(test.loc[test["split"] == part, "patient_id"]) for part in ("public", "private"))
    assert "No row of test.csv has a value of `patient_id` that train.csv has." in task.description
    assert not set(train["patient_id"]) & (public | private) and not public & private
    assert 0.2 < len(test) / ROWS < 0.4 and set(train["outcome"]) == {0, 1}


def test_8_no_id_no_name_that_says_the_target(rng, tmp_path):
    path = tmp_path / "data.csv"
    features(rng).to_csv(path, index=False)
    proposal = propose(path, Request.of())
    (question,) = proposal.questions
    assert {choice.options["target"] for choice in question.choices} == {("size",), ("colour",), ("age",)}
    assert made(path, target="colour").metric == "accuracy"


def test_9_several_targets(rng, tmp_path):
    path = tmp_path / "two.csv"
    features(rng).assign(target_a=rng.gamma(2, 9, ROWS), target_b=rng.gamma(2, 9, ROWS)).to_csv(path, index=False)
    with pytest.raises(TaskError, match="--target target_a --target target_b"):
        made(path)
    task = made(path, target=["target_a", "target_b"])
    train, test, sample = tables(task)
    assert list(sample.columns) == ["id", "target_a", "target_b"] and {"target_a", "target_b"} <= set(train.columns)
    perfect = test[sample.columns].to_csv(index=False).encode()
    assert task.grade(perfect, "all").score == pytest.approx(0, abs=1e-9)


def test_10_a_zipped_table_with_a_leak(rng, tmp_path):
    path = tmp_path / "loans.csv.zip"
    frame = features(rng).assign(status=rng.choice(["A", "B"], ROWS), default=0)
    frame["default"] = (frame["status"] == "B").astype(int)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("loans.csv", frame.to_csv(index=False))
    with pytest.raises(
        TaskError, match=r"'status' has one value for each value of the target.*--drop status.*--keep status"
    ):
        made(path, target="default")
    train, *_ = tables(made(path, target="default", drop="status"))
    assert list(train.columns) == ["id", "size", "colour", "age", "default"]


def test_11_unicode_names_and_quoted_line_breaks(rng, tmp_path):
    path = tmp_path / "表.csv"
    frame = features(rng).assign(ラベル=rng.choice(["はい", "いいえ"], ROWS), text='a "quoted"\nline, and more')
    frame.loc[::2, "text"] = "short"
    frame.to_csv(path, index=False)
    task = made(path, target="ラベル")
    train, test, sample = tables(task)
    assert list(sample.columns) == ["id", "いいえ", "はい"]
    assert set(pd.concat([train, test])["text"]) == {'a "quoted"\nline, and more', "short"}


def test_12_ids_huge_numbers_constants_and_dates_of_day_first(rng, tmp_path, caplog):
    path = tmp_path / "people.csv"
    days = pd.date_range("2020-01-01", periods=ROWS).strftime("%d/%m/%Y")
    frame = features(rng).assign(
        PersonID=[10**30 + number for number in range(ROWS)],
        country="DE",
        born=rng.permutation(days),
        churn=rng.integers(0, 2, ROWS),
    )
    frame.to_csv(path, index=False)
    task = made(path)
    train, test, _ = tables(task)
    assert list(train.columns) == ["id", "size", "colour", "age", "born", "churn"]
    assert sorted(pd.concat([train, test])["born"]) == sorted(pd.to_datetime(days, dayfirst=True).strftime("%Y-%m-%d"))
    assert task.metric == "roc_auc" and "'PersonID' is left out: the row ids" in caplog.text
    assert "'country' is left out: the same in each row" in caplog.text and "ISO 8601" in caplog.text


def test_a_number_with_a_metric_of_classes_is_no_rare_class(rng, tmp_path):
    path = tmp_path / "data.csv"
    features(rng, 400).assign(target=rng.normal(size=400)).to_csv(path, index=False)
    with pytest.raises(TaskError, match="they are numbers, so try rmse"):
        made(path, metric="accuracy")


def test_rows_that_occur_twice_are_named(rng, tmp_path, caplog):
    path = tmp_path / "data.csv"
    frame = features(rng).assign(target=rng.normal(size=ROWS))
    pd.concat([frame, frame[:5]]).to_csv(path, index=False)
    made(path)
    assert "5 rows equal an earlier row" in caplog.text
