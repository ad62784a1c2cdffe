"""Task folders that others wrote, as a pull from the Hub brings them: errors with names, and no way out of the folder."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from trl_mle.errors import TaskError
from trl_mle.tasks import load_task, task_yaml
from trl_mle.tasks.mlebench import package

MLEBENCH = "{name: mlebench, competition: spooky-author-identification, answers: test.csv, thresholds: [3, 2, 1, 0]}"


def write(folder: Path, grader: str, id_column: str = "id", test: str = "null", sample: str = "sample.csv") -> Path:
    """A small folder whose two rows have the ids 1 and 2."""
    for name in ("public", "private"):
        (folder / name).mkdir()
    (folder / "description.md").write_text("Predict y.")
    (folder / "private/e.py").write_text("")
    for name in ("public/sample.csv", "private/test.csv"):
        (folder / name).write_text("id,y\n1,2\n2,3\n")
    (folder / "task.yaml").write_text(
        f"id: x\ntitle: t\nmetric: m\ndirection: maximize\nid_column: {id_column}\ntarget_column: y\n"
        f"train_file: null\ntest_file: {test}\nsample_file: {sample}\ngrader: {grader}\n"
    )
    return folder


@pytest.fixture
def evil(tmp_path, monkeypatch):
    """The settings of a competition that are no part of an installed `mlebench`, with a grader of their own."""
    competitions = tmp_path / "site" / "mlebench" / "competitions"
    competitions.mkdir(parents=True)
    monkeypatch.setattr(package, "package_dir", lambda: competitions.parent)
    folder = tmp_path / "evil"
    folder.mkdir()
    (folder / "config.yaml").write_text(
        "name: x\ngrader: {name: x, grade_fn: 'os:system'}\ndataset: {answers: a, sample_submission: b}\n"
    )
    return folder


@pytest.mark.parametrize("absolute", [True, False])
def test_no_competition_leads_to_a_grader_outside_of_the_package(tmp_path, evil, absolute):
    name = str(evil) if absolute else "../../../evil"
    assert (package.package_dir() / "competitions" / name / "config.yaml").is_file()
    assert package.competition_dir(name) is None
    (tmp_path / "task").mkdir()
    folder = write(tmp_path / "task", MLEBENCH.replace("spooky-author-identification", f"'{name}'"))
    with pytest.raises(TaskError, match="its grader is part of the package mlebench"):
        load_task(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "JSONDecodeError"), ("[" * 100_000, "RecursionError"), ('[{"y": 1}]', "gives the answers away")],
)
def test_a_broken_table_is_named(tmp_path, content, message):
    folder = write(tmp_path, MLEBENCH, test="test.json")
    (folder / "public/test.json").write_text(content)
    with pytest.raises(TaskError, match=message):
        load_task(folder)


@pytest.mark.parametrize("grader", [MLEBENCH, "{name: script, evaluator: e.py, thresholds: {gold: 3}}"])
def test_a_threshold_that_no_float_holds_is_refused(tmp_path, grader):
    with pytest.raises(TaskError, match="thresholds is"):
        load_task(write(tmp_path, grader.replace("3", "1" + "0" * 400)))


SCRIPT = "{name: script, evaluator: e.py, answers: test.csv}"


def test_the_sample_of_a_script_needs_ids_that_are_unique(tmp_path):
    folder = write(tmp_path, SCRIPT, id_column="key")
    with pytest.raises(TaskError, match=r"sample.csv has no column 'key', the id_column"):
        load_task(folder)
    (folder / "public/sample.csv").write_text("key,y\n1,2\n1,3\n")
    with pytest.raises(TaskError, match=r"id '1' occurs again in line 3.*correct id_column"):
        load_task(folder)


def test_the_sample_of_a_script_may_be_compressed(tmp_path):
    folder = write(tmp_path, SCRIPT, sample="sample.csv.gz")
    (folder / "public/sample.csv.gz").write_bytes(gzip.compress(b"id,y\n1,2\n2,3\n"))
    assert load_task(folder).prediction_columns == ("y",)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ("id,split\n1,public\n", "name each id"),
        ("id,split\n1,public\n2,public\n", "both parts"),
        ("id,split\n1,public\n2,private\n1,private\n", "once"),
        ("id,split\n1,public\n2,private\n3,private\n", "name each id"),
        ("key,split\n1,public\n2,private\n", "needs id and split"),
        ("split,id\nprivate,2\npublic,1\n", ""),
    ],
)
def test_parts_of_a_script_name_each_id_once(tmp_path, parts, message):
    folder = write(tmp_path, SCRIPT)
    (folder / "private/parts.csv").write_text(parts)
    if not message:
        assert load_task(folder).has_parts
        return
    with pytest.raises(TaskError, match=message):
        load_task(folder)


@pytest.mark.parametrize("name", ["../e.py", "/etc/passwd", '"e\\0.py"', "5"])
def test_an_evaluator_is_a_file_of_the_private_folder(tmp_path, name):
    with pytest.raises(TaskError, match=r"grader.evaluator is .* write a path inside private/"):
        load_task(write(tmp_path, f"{{name: script, evaluator: {name}}}"))


@pytest.mark.parametrize("key", ["packages", "unknown"])
def test_aliases_of_aliases_are_refused(tmp_path, monkeypatch, key):
    monkeypatch.setattr(task_yaml, "MAX_VALUES", 20_000)
    nested = "".join(f", &a{at} [{', '.join([f'*a{at - 1}'] * 10)}]" for at in range(1, 9))
    folder = write(tmp_path, SCRIPT)
    with (folder / "task.yaml").open("a") as file:
        file.write(f"{key}: [&a0 [x, x]{nested}]\n")
    with pytest.raises(TaskError, match="without aliases"):
        load_task(folder)
    (folder / "task.yaml").write_text("id: &a [*a]\n")
    with pytest.raises(TaskError, match=r"task\.yaml"):
        load_task(folder)
