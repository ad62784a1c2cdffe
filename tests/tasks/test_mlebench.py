"""Tasks of MLE-bench from prepared data, without the package `mlebench`."""

import csv as csv_module
import gzip
import io
import json
import stat
import zipfile

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss, root_mean_squared_log_error

from tests.support.mlebench_data import AUTHORS, TARGETS, conductors, insults, pizza, spooky, tweets
from trl_mle import text_tables
from trl_mle.errors import TaskError
from trl_mle.grading import FormError
from trl_mle.prompts import build_prompt
from trl_mle.rewards.score_transform import transform_score
from trl_mle.tasks import list_tasks, load_task
from trl_mle.tasks.mlebench import package
from trl_mle.tasks.mlebench.competitions import known
from trl_mle.tasks.mlebench.tables import _check_width, read_answers, read_submission
from trl_mle.types import ScoreTransform


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    """MLE-bench's data folder. No test here sees an installed `mlebench`."""
    monkeypatch.setenv("MLEBENCH_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("TRL_MLE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(package, "find_spec", lambda name: None)
    return tmp_path / "data"


def csv(table):
    return table.to_csv(index=False).encode()


def noisy(answers, seed=0):
    values = answers[list(AUTHORS)].to_numpy() + np.random.default_rng(seed).random((len(answers), 3))
    return answers.assign(**dict(zip(AUTHORS, (values / values.sum(axis=1, keepdims=True)).T, strict=True)))


def test_data_that_is_missing_is_named_with_the_command_that_makes_it(data):
    with pytest.raises(TaskError, match=r"mlebench prepare -c spooky-author-identification") as error:
        load_task("mlebench:spooky-author-identification")
    assert str(data) in str(error.value) and "MLEBENCH_DATA_DIR" in str(error.value)


@pytest.mark.parametrize("name", ["", "../spooky", "a/b", "/etc", ".hidden", "x" * 200])
def test_a_name_leads_to_no_other_folder(name):
    with pytest.raises(TaskError, match="not the name of a competition"):
        load_task(f"mlebench:{name}")


def test_an_unknown_competition_names_the_known_ones_and_the_package():
    with pytest.raises(TaskError, match=r"package mlebench is not installed.*spooky-author-identification"):
        load_task("mlebench:denoising-dirty-documents")


def test_only_prepared_competitions_are_listed(data):
    assert not [name for name in list_tasks() if name.startswith("mlebench:")]
    spooky(data)
    assert list_tasks()["mlebench:spooky-author-identification"] == known()["spooky-author-identification"]["title"]


def test_answers_are_private_and_everything_else_is_read_only(data):
    spooky(data)
    task = load_task("mlebench:spooky-author-identification")
    assert stat.S_IMODE(task.private_dir.stat().st_mode) == 0o700
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in task.private_dir.iterdir()} == {
        "test.csv": 0o600,
        "parts.csv": 0o600,
    }
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in task.public_dir.iterdir()} == {
        "train.csv": 0o444,
        "test.csv": 0o444,
        "sample_submission.csv": 0o444,
    }


def test_scores_are_those_of_the_metric_on_each_part(data):
    answers = spooky(data)
    task = load_task("mlebench:spooky-author-identification")
    assert (task.id_column, task.prediction_columns, task.direction) == ("id", AUTHORS, "minimize")
    predictions = noisy(answers)
    parts = pd.read_csv(task.private_dir / "parts.csv")["split"]
    for split, rows in (("all", parts.notna()), ("public", parts == "public"), ("private", parts == "private")):
        expected = log_loss(answers[rows.values][list(AUTHORS)], predictions[rows.values][list(AUTHORS)])
        assert task.grade(csv(predictions.sample(frac=1, random_state=1)), split).score == pytest.approx(
            expected, abs=1e-12
        )
    counts = answers[list(AUTHORS)].groupby(parts.values).sum()
    assert (counts.loc["public"] - counts.loc["private"]).abs().max() <= 1


def test_medals_come_from_the_thresholds(data):
    answers = spooky(data)
    task = load_task("mlebench:spooky-author-identification")
    gold, _, _, median = known()["spooky-author-identification"]["thresholds"]
    for level, medal, above in (
        (gold, "gold", True),
        (0.2, "silver", True),
        (0.28, "bronze", True),
        (0.3, None, True),
    ):
        probability = np.exp(-level)
        values = answers[list(AUTHORS)] * (probability - (1 - probability) / 2) + (1 - probability) / 2
        grade = task.grade(csv(pd.concat([answers[["id"]], values], axis=1)), "all")
        assert (round(grade.score, 5), grade.medal, grade.above_median) == (level, medal, above)
        assert grade.percentile is None
    assert task.grade(csv(answers.assign(EAP=0.4, HPL=0.3, MWS=0.3)), "all").above_median is False
    assert median == 0.41879


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda table: table.assign(EAP=table["EAP"] + 0.01), "sum 1"),
        (lambda table: table.assign(EAP=-1.0, HPL=1.0, MWS=1.0), "between 0 and 1"),
        (lambda table: table.iloc[1:], "1 of 30 ids are missing, for example 'id000'"),
        (lambda table: pd.concat([table, table.iloc[:1]]), "more than 30 rows"),
        (lambda table: pd.concat([table.iloc[1:], table.iloc[1:2]]), "id 'id001' occurs 2 times"),
        (lambda table: table.assign(id=["x", *table["id"][1:]]), "unknown id 'x'"),
        (lambda table: table.drop(columns="HPL"), "3 columns; expected 4"),
        (lambda table: table.drop(columns="id"), "missing column 'id'"),
        (lambda table: table[["EAP", "id", "HPL", "MWS"]], "first column must be 'id'"),
        (lambda table: table.assign(EAP="many"), "'many' in column 'EAP' is not a number"),
        (lambda table: table.iloc[:0], "30 of 30 ids are missing"),
    ],
)
def test_what_the_competition_refuses_is_invalid_on_every_part(data, change, reason):
    table = change(noisy(spooky(data)))
    task = load_task("mlebench:spooky-author-identification")
    for split in ("public", "private", "all"):
        grade = task.grade(csv(table), split)
        assert not grade.valid and grade.score is None and grade.medal is None
        assert reason in grade.reason


@pytest.mark.parametrize(
    "content",
    [
        b",".join([b"x" * 100_000] * 50) + b"," * 5_000_000 + b"\n1",
        b"id\n" + b"," * 5_000_000 + b"\n",
        b"  \n\nid\n" + b",".join([b"1" * 100] * 100_000) + b"\n",
        b'x"' + b"," * 5_000_000 + b'"\n1\n',
        b'id,"a""b' + b"\n" * 100 + b'",' + b'"",' * 1_000_000,
        b"\n" * 5_000_000,
    ],
    ids=[
        "behind long names",
        "implicit index",
        "behind blank lines",
        "quote in a cell",
        "behind a quoted cell",
        "blank",
    ],
)
def test_rows_of_millions_of_cells_are_refused_before_they_are_parsed(content, monkeypatch):
    monkeypatch.setattr(pd, "read_csv", None)
    with pytest.raises(FormError, match=r"more than 108 columns|more than 1000 empty lines"):
        read_submission(content, 30, 108)


def test_a_cell_of_megabytes_is_read():
    content = b'id,mask\n1,"' + b"12 7 " * 1_000_000 + b'"\n2,' + b"3 4 " * 1_000_000 + b"\n"
    assert read_submission(content, 2, 100)["mask"].str.len().tolist() == [5_000_000, 4_000_000]


@settings(max_examples=25)
@given(st.lists(st.lists(st.text(max_size=4), min_size=3, max_size=3), max_size=6), st.sampled_from(["\n", "\r\n"]))
def test_cells_are_counted_as_csv_writers_mean_them(rows, end):
    buffer = io.StringIO(newline="")
    csv_module.writer(buffer, lineterminator=end).writerows([["a", "b", "c"], *rows])
    _check_width(buffer.getvalue().encode("utf-8", "replace"), 3)
    with pytest.raises(FormError):
        _check_width(buffer.getvalue().encode("utf-8", "replace"), 2)


@pytest.mark.parametrize(
    "content", [b"", b"\n\n", b"\0\xff" * 40, b'id,"EAP\n' + b"x" * 500, b"," * 200_000, b"id\n" * 60_000]
)
def test_any_bytes_are_invalid_and_no_fault(data, content):
    spooky(data)
    task = load_task("mlebench:spooky-author-identification")
    assert not task.grade(content).valid


def test_rows_of_a_positional_grader_are_matched_by_their_ids(data):
    answers = conductors(data)
    task = load_task("mlebench:nomad2018-predict-transparent-conductors")
    predictions = answers.assign(**{target: answers[target] * 1.1 for target in TARGETS})
    expected = np.mean([root_mean_squared_log_error(answers[target], predictions[target]) for target in TARGETS])
    for table in (predictions, predictions.iloc[::-1]):
        assert task.grade(csv(table), "all").score == pytest.approx(expected, abs=1e-12)
    assert "id 20 occurs" in task.grade(csv(predictions.assign(id=20))).reason.replace("'", "")
    assert "missing column 'id'" in task.grade(csv(predictions.drop(columns="id"))).reason
    negative = task.grade(csv(predictions.assign(bandgap_energy_ev=-3.0)))
    assert not negative.valid and "cannot score" in negative.reason
    assert (task.public_dir / "test" / "3" / "geometry.xyz").is_file()


def test_the_field_that_gives_pizza_away_is_nowhere(data):
    answers = pizza(data)
    originals = {path: (path.read_bytes(), path.stat()) for path in data.rglob("*") if path.is_file()}
    task = load_task("mlebench:random-acts-of-pizza")
    files = sorted(path.name for path in task.public_dir.rglob("*"))
    assert files == ["sampleSubmission.csv", "test.json", "train.json"]
    for path in task.public_dir.iterdir():
        assert b"giver" not in path.read_bytes()
    assert "giver" not in str(build_prompt(task))
    assert len(json.loads((task.public_dir / "train.json").read_text())) == 20
    assert originals == {path: (path.read_bytes(), path.stat()) for path in originals}
    assert task.grade(csv(answers), "private").score == 1.0


def test_comments_serve_as_ids(data):
    answers = insults(data)
    task = load_task("mlebench:detecting-insults-in-social-commentary")
    assert (task.id_column, task.prediction_columns) == ("Comment", ("Insult",))
    assert task.grade(csv(answers), "all").score == 1.0
    assert task.grade(csv(answers.assign(Date="2012", Insult=1 - answers["Insult"])), "all").score == 0.0
    assert not task.grade(csv(answers.assign(Insult=2))).valid


def test_words_of_tweets_are_compared(data):
    answers = tweets(data)
    task = load_task("mlebench:tweet-sentiment-extraction")
    words = answers.assign(selected_text=[f"{'HAPPY' if row % 2 else 'happy'} {row} other" for row in range(20)])
    assert task.grade(csv(words), "all").score == pytest.approx(2 / 4)
    empty = answers.assign(selected_text=["", *answers["selected_text"][1:]])
    assert task.grade(csv(empty), "all").score == pytest.approx(19 / 20)


def test_answers_whose_halves_cannot_be_scored_are_one_part(data):
    """One insult alone: the area under the ROC curve has no value on the half without it."""
    answers = insults(data, positives=1)
    task = load_task("mlebench:detecting-insults-in-social-commentary")
    assert not task.divided
    assert task.grade(csv(answers), "private").score == task.grade(csv(answers), "public").score == 1.0


def test_answers_in_an_archive_are_not_given_to_programs(data):
    spooky(data)
    prepared = data / "spooky-author-identification" / "prepared"
    with zipfile.ZipFile(prepared / "public" / "more.zip", "w") as archive:
        archive.write(prepared / "private" / "test.csv", "solution/labels.csv")
        archive.writestr("notes.txt", "notes")
    public = load_task("mlebench:spooky-author-identification").public_dir
    assert {path.name for path in public.rglob("*") if path.is_file()} == {
        "train.csv",
        "test.csv",
        "sample_submission.csv",
        "notes.txt",
    }


def test_compressed_answers_have_a_limit(tmp_path, monkeypatch):
    path = tmp_path / "answers.csv.gz"
    path.write_bytes(gzip.compress(b"id,y\n" + b"1,2\n" * 1000))
    assert read_answers(path)["y"].sum() == 2000
    with monkeypatch.context() as limits:
        limits.setattr(text_tables, "MAX_UNPACKED_BYTES", 2000)
        with pytest.raises(TaskError, match=r"answers\.csv\.gz cannot be read: .*unpacks to more than"):
            read_answers(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(TaskError, match=r"answers\.csv\.gz cannot be read: Compressed file ended"):
        read_answers(path)


def test_data_that_was_prepared_anew_is_noticed(data):
    answers = spooky(data)
    task = load_task("mlebench:spooky-author-identification")
    assert load_task("mlebench:spooky-author-identification").folder == task.folder
    path = data / "spooky-author-identification" / "prepared" / "private" / "test.csv"
    turned = answers.assign(EAP=answers["HPL"], HPL=answers["EAP"])
    turned.to_csv(path, index=False)
    again = load_task("mlebench:spooky-author-identification")
    assert again.folder != task.folder
    assert again.grade(csv(turned), "all").score == pytest.approx(0.0, abs=1e-9)
    assert task.grade(csv(answers), "all").score == pytest.approx(0.0, abs=1e-9)


def test_a_task_folder_is_complete_by_itself(data, tmp_path):
    answers = spooky(data)
    task = load_task("mlebench:spooky-author-identification")
    copy = task.folder.rename(tmp_path / "copy")
    (data / "spooky-author-identification").rename(tmp_path / "gone")
    assert load_task(copy).grade(csv(noisy(answers)), "public").valid


@pytest.mark.parametrize("name", known())
def test_transforms_of_known_competitions_order_their_thresholds(name):
    entry = known()[name]
    transform = ScoreTransform(**entry["transform"])
    gold, silver, bronze, median = (
        transform_score(score, entry["direction"], transform) for score in entry["thresholds"]
    )
    worst = transform_score(transform.worst, entry["direction"], transform)
    assert 1 >= gold >= silver > bronze > median > worst and worst < -0.8


@pytest.mark.parametrize("make", [spooky, conductors, pizza, insults, tweets])
def test_the_prompt_says_what_the_grader_wants(data, make):
    answers = make(data)
    (name,) = [path.name for path in data.iterdir()]
    task = load_task(f"mlebench:{name}")
    prompt = build_prompt(task)[1]["content"]
    assert task.metric_text in prompt and task.sample_file in prompt
    assert all(column in prompt for column in answers.columns)
    assert "divided by its sum" not in prompt and "\\u003c" not in prompt
