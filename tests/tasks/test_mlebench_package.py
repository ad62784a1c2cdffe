"""Tasks of MLE-bench graded by a package `mlebench`, here a small one with a competition that `known.yaml` lacks."""

import logging
import os
import sys
import zipfile
from types import SimpleNamespace

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.mlebench_data import toy_package
from trl_mle.errors import GradingError, TaskError
from trl_mle.tasks import load_task
from trl_mle.tasks.mlebench import grading, package, public_files
from trl_mle.tasks.mlebench.leaderboard import Leaderboard
from trl_mle.tasks.mlebench.public_files import unpack

ANSWERS = [float(row) for row in range(40)]


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("MLEBENCH_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("TRL_MLE_CACHE", str(tmp_path / "cache"))
    for name in [name for name in sys.modules if name.split(".")[0] == "mlebench"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path / "site")
    package.grade_function.cache_clear()
    yield tmp_path / "data"
    package.grade_function.cache_clear()
    for name in [name for name in sys.modules if name.split(".")[0] == "mlebench"]:
        del sys.modules[name]


def toy(data, answers=ANSWERS, leaderboard=None):
    toy_package(data.parent / "site", data, answers, leaderboard)


def submission(scores):
    return (
        pd.DataFrame({"key": [f"k{row}" for row in range(len(scores))], "score": scores}).to_csv(index=False).encode()
    )


def test_any_competition_of_the_package_is_a_task(data):
    toy(data)
    task = load_task("mlebench:toy")
    assert (task.id_column, task.prediction_columns, task.direction) == ("key", ("score",), "minimize")
    assert (task.metric_text, task.title, task.train_file, task.sample_file) == (
        "mean-error",
        "Toy",
        None,
        "sample.csv",
    )
    assert task.description.startswith("# Toy") and len(task.description) <= 2000
    assert sorted(str(path.relative_to(task.public_dir)) for path in task.public_dir.rglob("*") if path.is_file()) == [
        "images/1.png",
        "images/more/2.png",
        "sample.csv",
    ]
    assert (task.transform.kind, len(task.transform.leaderboard)) == ("percentile", 200)


def test_its_grader_and_leaderboard_give_the_grade(data):
    toy(data)
    task = load_task("mlebench:toy")
    grade = task.grade(submission([score + 0.5 for score in ANSWERS]), "all")
    assert (grade.score, grade.medal, grade.above_median) == (0.5, "bronze", True)
    assert grade.percentile == pytest.approx(149 / 200)
    assert task.grade(submission(ANSWERS), "private").medal == "gold"


def test_each_part_is_graded_by_its_ids(data):
    toy(data)
    task = load_task("mlebench:toy")
    public = pd.read_csv(task.private_dir / "parts.csv")["split"].eq("public")
    scores = [score + (1.0 if part else 3.0) for score, part in zip(ANSWERS, public, strict=True)]
    table = pd.read_csv(task.sample_path).assign(score=scores).sample(frac=1, random_state=0)
    assert [task.grade(table.to_csv(index=False).encode(), split).score for split in ("public", "private", "all")] == [
        1,
        3,
        2,
    ]


def test_a_refusal_of_the_grader_is_the_policys_fault(data):
    toy(data)
    grade = load_task("mlebench:toy").grade(submission(ANSWERS).replace(b"score", b"other"))
    assert (grade.valid, grade.reason) == (False, "no column 'score'")


def test_an_error_that_only_the_submission_causes_is_the_policys_fault_and_shows_no_answers(data):
    toy(data)
    task = load_task("mlebench:toy")
    for scores in ([13.25] * 40, ["text"] * 40):
        grade = task.grade(submission(scores))
        assert not grade.valid and "answers" not in grade.reason and "39" not in grade.reason
    assert "'text' in column 'score' is not a number" in grade.reason


def test_a_grader_that_cannot_score_the_sample_is_an_infrastructure_fault(data):
    toy(data, [99.0, 1.0, 2.0, 99.0])
    task = load_task("mlebench:toy")
    with pytest.raises(GradingError, match="RuntimeError: broken"):
        task.grade(submission([1.0] * 4))


def test_importing_the_package_leaves_logging_alone(data):
    toy(data)
    handlers, level = list(logging.getLogger().handlers), logging.getLogger().level
    load_task("mlebench:toy")
    assert (logging.getLogger().handlers, logging.getLogger().level) == (handlers, level)


def test_a_leaderboard_that_was_not_fetched_is_named(data):
    toy(data, leaderboard="version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(TaskError, match="git lfs pull"):
        load_task("mlebench:toy")


def test_a_package_that_cannot_be_imported_is_named(data):
    toy(data)
    path = data.parent / "site" / "mlebench" / "competitions" / "toy" / "grade.py"
    path.write_text("import no_such_package_at_all", encoding="utf-8")
    with pytest.raises(TaskError, match="No module named 'no_such_package_at_all'"):
        load_task("mlebench:toy")


def test_answers_in_the_public_folder_reach_no_program(data, caplog):
    toy(data)
    prepared = data / "toy" / "prepared"
    (prepared / "public" / "solution.csv").write_bytes((prepared / "private" / "answers.csv").read_bytes())
    assert not (load_task("mlebench:toy").public_dir / "solution.csv").exists()
    assert "is not given to programs" in caplog.text
    (prepared / "public" / "extra.csv").symlink_to(prepared / "private" / "answers.csv")
    with pytest.raises(TaskError, match="link to the answers"):
        load_task("mlebench:toy")
    assert not [path for path in (data.parent / "cache").iterdir() if path.name.startswith(".")]


def test_links_to_folders_and_pipes_are_refused(data):
    toy(data)
    public = data / "toy" / "prepared" / "public"
    os.mkfifo(public / "pipe.csv")
    with pytest.raises(TaskError, match=r"pipe\.csv is not a file"):
        load_task("mlebench:toy")
    (public / "pipe.csv").unlink()
    (public / "more").symlink_to(data / "toy" / "prepared" / "private")
    with pytest.raises(TaskError, match="link to a folder"):
        load_task("mlebench:toy")


@pytest.mark.parametrize("name", ["../up.txt", "/abs.txt", "a/../../up.txt"])
def test_an_archive_that_leads_out_of_its_folder_is_refused(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(name, b"x" * 1000)
    with pytest.raises(TaskError, match="leads out of its folder"):
        unpack(tmp_path / "a.zip")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_what_macos_adds_to_an_archive_moves_no_file(tmp_path):
    with zipfile.ZipFile(tmp_path / "train.csv.zip", "w") as archive:
        archive.writestr("train.csv", "id,y\n1,2\n")
        archive.writestr("__MACOSX/._train.csv", b"x")
    assert unpack(tmp_path / "train.csv.zip") == [tmp_path / "train.csv"]


def test_a_bomb_is_refused_and_a_damaged_archive_stays_packed(tmp_path, monkeypatch):
    monkeypatch.setattr(public_files, "LARGE_BYTES", 10_000_000)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", b"\0" * 20_000_000)
    with pytest.raises(TaskError, match="200 times"):
        unpack(tmp_path / "bomb.zip")
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("good", b"good")
        archive.writestr("bad", b"content")
    content = (tmp_path / "bad.zip").read_bytes()
    (tmp_path / "bad.zip").write_bytes(content.replace(b"content", b"changed"))
    unpack(tmp_path / "bad.zip")
    assert (tmp_path / "bad.zip").is_file() and not list(tmp_path.glob("bad/*"))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=1100), st.booleans(), st.data())
def test_standings_follow_the_rules_of_kaggle(scores, lower, draw):
    scores = sorted((score / 10**5 for score in scores), reverse=not lower)
    board = Leaderboard.from_scores(scores)
    if scores[0] == scores[-1]:  # a leaderboard without differences has no direction
        lower = False
    assert board.direction == ("minimize" if lower else "maximize")
    score = draw.draw(st.sampled_from(scores) | st.floats(-1e6, 1e6))
    grade = board.grade(score)
    rounded = round(score, 5)
    place = sum(other < rounded if lower else other > rounded for other in scores) + 1
    teams = len(scores)
    last = {
        "gold": int(teams * 0.1) if teams < 100 else 10 if teams < 250 else 10 + int(teams * 0.002),
        "silver": int(teams * 0.2) if teams < 250 else 50 if teams < 1000 else int(teams * 0.05),
        "bronze": int(teams * 0.4) if teams < 250 else 100 if teams < 1000 else int(teams * 0.1),
    }
    expected = next((medal for medal, most in last.items() if place <= max(1, most)), None)
    assert grade.medal == expected
    worse = sum(other > rounded if lower else other < rounded for other in scores)
    assert grade.percentile == worse / teams
    assert grade.score == score and grade.valid


def test_a_grader_that_fails_for_a_moment_is_asked_again(monkeypatch):
    """What one lack of memory says of a grader must not make faults of all submissions that it chokes on later."""
    answers, table = iter([False, True]), SimpleNamespace(works={})
    monkeypatch.setattr(grading, "_controls", lambda table: [None])
    monkeypatch.setattr(grading, "_scores", lambda *arguments: next(answers))
    assert [grading.can_score(max, table, "public") for _ in range(3)] == [False, True, True]
