"""Tasks of DARE-bench from a clone: files, matching of rows, grades, licences, and what is refused."""

import io
import json
import os
import stat
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score, r2_score

from tests.support.dare_clone import CLASSES, NUMBERS, SERIES, database, make_clone, write_sqlite
from trl_mle.errors import TaskError, UserError
from trl_mle.prompts import build_prompt
from trl_mle.rewards.score_transform import transform_score
from trl_mle.tasks import list_tasks, load_task
from trl_mle.tasks.dare_bench.tables import read_table
from trl_mle.types import ScoreTransform

NAMES = (CLASSES, NUMBERS, SERIES)


@pytest.fixture(autouse=True)
def clone(tmp_path, monkeypatch) -> Path:
    root = make_clone(tmp_path)
    monkeypatch.setenv("DARE_BENCH_DIR", str(root))
    monkeypatch.setenv("TRL_MLE_CACHE", str(tmp_path / "cache"))
    return root


def answers_of(clone: Path, name: str) -> pd.DataFrame:
    file = "ground_truth_v2.csv" if name == SERIES else "ground_truth.csv"
    return pd.read_csv(database(clone, name) / "verify" / file)


def public(task, name: str) -> pd.DataFrame:
    return pd.read_csv(task.public_dir / name)


def csv(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False).encode()


def fails(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=message):
        load_task(f"dare:{name}")
    assert not list((tmp_path / "cache").glob("*")), "a refused data set must leave nothing behind"


def test_the_names_of_a_clone_are_listed_and_without_one_there_are_none(clone, monkeypatch):
    titles = list_tasks()
    assert titles[f"dare:{SERIES}"] == "Two shops (time series)"
    assert {f"dare:{name}" for name in NAMES} <= set(titles)
    for value in ("", "/does/not/exist", str(clone / "data"), "~nobody-of-this-name/x", "a\0b"[:1]):
        monkeypatch.setenv("DARE_BENCH_DIR", value)
        assert not [name for name in list_tasks() if name.startswith("dare:")]
        with pytest.raises(UserError, match=r"git clone https://github\.com/Snowflake-Labs/dare-bench"):
            load_task(f"dare:{CLASSES}")


@pytest.mark.parametrize("name", NAMES)
def test_answers_are_out_of_reach_of_programs(clone, name):
    task = load_task(f"dare:{name}")
    assert stat.S_IMODE(task.private_dir.stat().st_mode) == 0o700
    files = {path.name for path in task.public_dir.rglob("*")}
    assert files == {"train.csv", "test.csv", "sample_submission.csv", "metadata.txt"}
    assert not set(task.target_columns) & set(public(task, "test.csv").columns)
    prompt = " ".join(message["content"] for message in build_prompt(task))
    assert "ground_truth" not in prompt and str(clone) not in prompt
    train = public(task, "train.csv")
    if name == SERIES:
        keys = set(zip(pd.to_datetime(train["day"], format="mixed", dayfirst=True), train["shop"], strict=True))
        test = public(task, "test.csv")
        asked = set(zip(pd.to_datetime(test["day"], format="%d/%m/%Y"), test["shop"], strict=True))
        assert not keys & asked
        assert "2 training rows that would give answers away were left out" in task.description


def test_a_perfect_submission_has_the_best_score_on_each_part(clone):
    for name in NAMES:
        task = load_task(f"dare:{name}")
        answers = answers_of(clone, name)
        test = public(task, "test.csv")
        keys = [column for column in answers.columns if column not in task.target_columns]
        perfect = test.merge(answers, on=keys)[["row_id", *task.target_columns]]
        assert len(perfect) == len(test)
        for split in ("public", "private", "all"):
            assert task.grade(csv(perfect), split).score == pytest.approx(1.0)


def test_macro_f1_equals_that_of_scikit_learn_on_the_raw_files(clone):
    task = load_task(f"dare:{CLASSES}")
    truth = answers_of(clone, CLASSES)
    guess = truth.assign(kind=np.random.default_rng(0).permutation(truth["kind"]))
    assert task.grade(csv(guess), "all").score == pytest.approx(
        f1_score(truth["kind"], guess["kind"], average="macro")
    )
    assert (task.metric, task.direction) == ("f1_macro", "maximize")


def test_clipped_r2_is_clipped_per_target_before_the_mean(clone):
    task = load_task(f"dare:{NUMBERS}")
    truth = answers_of(clone, NUMBERS)
    rng = np.random.default_rng(0)
    guess = truth.assign(price=truth["price"] + rng.normal(0, 9000, len(truth)), rent=-truth["rent"])
    expected = np.clip(r2_score(truth["price"], guess["price"]), 0, 1) / 2
    assert 0 < expected < 0.5
    assert task.grade(csv(guess), "all").score == pytest.approx(expected, abs=1e-12)
    assert task.target_columns == ("price", "rent")


def test_the_rows_of_a_series_are_matched_by_time_and_series(clone):
    task = load_task(f"dare:{SERIES}")
    test, truth = public(task, "test.csv"), answers_of(clone, SERIES)
    assert list(test["row_id"]) == list(range(1, 41))
    guess = test.merge(truth, on=["day", "shop"])
    guess["sold"] += np.random.default_rng(0).normal(0, 9, len(guess))
    both = guess.merge(truth, on=["day", "shop"], suffixes=("", "_true"))
    expected = r2_score(both["sold_true"], both["sold"])
    assert 0 < expected < 1
    assert task.grade(csv(guess[["row_id", "sold"]]), "all").score == pytest.approx(expected)


def test_both_parts_of_a_series_reach_over_the_horizon_and_share_no_moment(clone):
    task = load_task(f"dare:{SERIES}")
    parts = pd.read_csv(task.private_dir / "answers.csv").merge(public(task, "test.csv"), on="row_id")
    parts["day"] = pd.to_datetime(parts["day"], format="%d/%m/%Y")
    ranges = parts.groupby("split")["day"].agg(["min", "max", "size"])
    assert (ranges["max"] - ranges["min"]).min() >= pd.Timedelta(days=16)  # of 19
    assert set(ranges["size"]) == {20}
    assert (parts.groupby("day")["split"].nunique() == 1).all()


def test_numbers_and_missing_values_come_through_unchanged(clone):
    task = load_task(f"dare:{NUMBERS}")
    raw = pd.read_parquet(database(clone, NUMBERS) / "source/train_v2.parquet").reset_index(drop=True)
    pd.testing.assert_frame_equal(public(task, "train.csv").drop(columns="row_id"), raw, check_exact=True)
    # `None` as a word is a value, and NULL is a missing one.
    kinds = pd.read_csv(load_task(f"dare:{CLASSES}").public_dir / "train.csv", keep_default_na=False)["colour"]
    assert set(kinds) == {"None", "red", ""}


def test_the_sample_is_the_worst_side_of_the_score_transform(clone):
    for name in NAMES:
        task = load_task(f"dare:{name}")
        score = task.grade(task.sample_path, "all").score
        assert task.transform == ScoreTransform("linear", score, 1.0, optimum=1.0)
        assert transform_score(1.0, task.direction, task.transform) == 1.0


def test_licences_are_shown_and_non_commercial_ones_are_named(clone):
    assert load_task(f"dare:{CLASSES}").license == "CC-BY-NC-SA-4.0 (non-commercial use only)"
    assert load_task(f"dare:{NUMBERS}").license == "Attribution 4.0 International (CC BY 4.0)"
    assert load_task(f"dare:{SERIES}").license == "not stated"
    assert "non-commercial use only" in load_task(f"dare:{CLASSES}").description


def test_a_changed_source_is_prepared_anew_and_an_equal_one_is_not(clone, tmp_path):
    first = load_task(f"dare:{CLASSES}").folder
    assert load_task(f"dare:{CLASSES}").folder == first
    path = database(clone, CLASSES) / "verify/ground_truth.csv"
    path.write_text(path.read_text().replace("sweet", "dry", 1))
    assert load_task(f"dare:{CLASSES}").folder != first


def test_tables_that_share_row_ids_are_joined_and_others_are_refused(clone, tmp_path):
    path = database(clone, CLASSES) / "source/train_v2.sqlite"
    left = pd.DataFrame({"row_id": [1, 2, 3], "size": [0.1, 0.9, -0.9], "colour": ["red", None, "red"]})
    right = pd.DataFrame({"row_id": [3, 1, 2], "kind": ["sour", "dry", "sweet"]})
    write_sqlite(path, a=left, b=right)
    train = public(load_task(f"dare:{CLASSES}"), "train.csv")
    assert list(train["kind"]) == ["dry", "sweet", "sour"]
    for other in (right.assign(row_id=[3, 3, 1]), right.assign(row_id=[3, 1, 4]), right.drop(columns="row_id")):
        write_sqlite(path, a=left, b=other)
        with pytest.raises(TaskError, match="cannot be joined"):
            load_task(f"dare:{CLASSES}")


def test_a_file_that_is_missing_or_a_stub_is_named(clone, tmp_path):
    path = database(clone, CLASSES) / "source/train_v2.sqlite"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    fails(CLASSES, "train_v2.sqlite is a stub of Git LFS; run `git lfs pull`", tmp_path)
    path.write_bytes(b"no database at all, and long enough to be read as one" * 9)
    fails(CLASSES, "train_v2.sqlite cannot be read", tmp_path)
    path.unlink()
    fails(CLASSES, "train_v2.sqlite does not exist: the clone is not complete", tmp_path)
    fails("nothing", "no data set 'nothing'", tmp_path)
    fails("../../etc", "no data set", tmp_path)


def test_a_link_out_of_the_clone_is_not_followed(clone, tmp_path):
    secret = tmp_path / "secret.csv"
    secret.write_text("row_id,size\n1,2\n")
    path = database(clone, SERIES) / "source/train.csv"
    path.unlink()
    path.symlink_to(secret)
    fails(SERIES, "leads out of", tmp_path)
    questions = clone / "data/eval/question_list.json"
    entries = json.loads(questions.read_text())
    entries[0]["needed_files_v2"][0] = "train/../../../../../../../secret.csv"
    questions.write_text(json.dumps(entries))
    os.utime(questions, ns=(1, 1))
    fails(CLASSES, "leads out of|does not exist", tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame[1:], "other values of 'row_id'"),
        (lambda frame: pd.concat([frame, frame[:1]]), "must name each row once"),
        (lambda frame: frame.rename(columns={"kind": "other"}), "has no column 'kind'"),
        (lambda frame: frame.assign(kind=[None, *frame["kind"][1:]]), "has no value of 'kind' in 1 rows"),
        (lambda frame: frame.assign(kind="dry"), "nothing to learn|has the best score"),
        (lambda frame: frame[:0], "has no rows"),
    ],
)
def test_answers_that_do_not_fit_are_refused(clone, tmp_path, change, message):
    path = database(clone, CLASSES) / "verify/ground_truth.csv"
    change(pd.read_csv(path)).to_csv(path, index=False)
    if "nothing to learn" in message:
        raw = pd.read_csv(io.StringIO("size,colour,kind\n1,red,dry\n2,red,dry\n"))
        write_sqlite(database(clone, CLASSES) / "source/train_v2.sqlite", train_set=raw)
    fails(CLASSES, message, tmp_path)


def test_a_test_table_with_the_answers_is_refused(clone, tmp_path):
    path = database(clone, NUMBERS) / "source/val_v2.parquet"
    pd.read_parquet(path).assign(rent=1.0).to_parquet(path)
    fails(NUMBERS, "holds the target 'rent': that gives the answers away", tmp_path)


def test_rows_that_are_longer_than_their_header_are_refused(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("row_id,size\n0,1,2.50\n1,2,3.50\n")
    with pytest.raises(TaskError, match="has rows with more cells than its header"):
        read_table(path)
    path.write_text("row_id,size\n1,2.50,\n2,,\n")
    assert read_table(path).to_dict("list") == {"row_id": ["1", "2"], "size": ["2.50", ""]}
