"""Tasks in Harbor's format: where the answers are, what the verifier computes, and Harbor's own loader."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.mlebench_data import AUTHORS, spooky
from tests.support.tasks import toy_task
from trl_mle import RewardConfig, load_task
from trl_mle.errors import TaskError
from trl_mle.exports.harbor import export_harbor
from trl_mle.exports.harbor.export import GRADERS
from trl_mle.exports.harbor.grading_code import grading_code
from trl_mle.exports.harbor.texts import instruction
from trl_mle.rewards.score_transform import transform_score
from trl_mle.tasks import folder
from trl_mle.tasks.mlebench import package

HARBOR = os.environ.get("TRL_MLE_HARBOR_PYTHON", "")
"""A Python of 3.12 or later with the package `harbor`."""


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    folder = tmp_path_factory.mktemp("task")
    task = toy_task(folder, reference="import pandas as pd\nprint('reference')\n")
    (task.public_dir / "images").mkdir()
    (task.public_dir / "images" / "1.png").write_bytes(b"png")
    return task


@pytest.fixture(scope="module")
def exported(task, tmp_path_factory):
    return export_harbor(task, tmp_path_factory.mktemp("out") / "deep")


def verify(exported: Path, submission: Path, out: Path) -> subprocess.CompletedProcess:
    """Run what `test.sh` runs, in an empty folder, without this checkout on Python's path."""
    command = [
        sys.executable,
        "-s",
        "-E",
        str(exported / "tests/verify.py"),
        "--submission",
        str(submission),
        "--out",
        str(out),
    ]
    return subprocess.run(command, capture_output=True, text=True, cwd=submission.parent, timeout=120, check=False)


def submissions(task, folder: Path) -> dict[str, Path]:
    sample = task.sample_path.read_text()
    answers = (task.private_dir / "answers.csv").read_text().splitlines()
    texts = {
        "sample": sample,
        "perfect": "\n".join(line.rpartition(",")[0] for line in answers) + "\n",
        "terrible": sample.replace(",0.0", ",1e9"),
        "too few rows": sample[: len(sample) // 2] + "\n",
        "no number": sample.replace(",0.0", ",abc", 1),
        "empty": "",
    }
    paths = {name: folder / f"{name}.csv" for name in (*texts, "missing", "a folder", "a link")}
    for name, text in texts.items():
        paths[name].write_text(text)
    paths["a folder"].mkdir()
    paths["a link"].symlink_to(paths["perfect"])
    return paths


def test_the_answers_are_in_the_verifier_alone(task, exported):
    answers = (task.private_dir / "answers.csv").read_bytes()
    copies = [path for path in exported.rglob("*") if path.is_file() and path.read_bytes() == answers]
    assert copies == [exported / "tests/task/private/answers.csv"]
    seen_by_agent = sorted(
        path.relative_to(exported).as_posix()
        for path in exported.rglob("*")
        if path.is_file() and "tests" not in path.relative_to(exported).parts
    )
    assert seen_by_agent == [
        "environment/Dockerfile",
        "environment/input/images/1.png",
        "environment/input/sample_submission.csv",
        "environment/input/test.csv",
        "environment/input/train.csv",
        "instruction.md",
        "solution/reference.py",
        "solution/solve.sh",
        "task.toml",
    ]
    test_ids = {line.partition(b",")[0] for line in answers.splitlines()[1:]}
    for path in (exported / "environment").rglob("*"):
        if path.is_file() and path.name != "test.csv" and path.name != "sample_submission.csv":
            assert not test_ids & {line.partition(b",")[0] for line in path.read_bytes().splitlines()}, path
    assert "private" not in (exported / "environment/Dockerfile").read_text()
    assert not any(path.is_symlink() for path in exported.rglob("*"))
    assert (exported / "tests").stat().st_mode & 0o777 == 0o700


def test_the_files_say_what_harbor_needs(task, exported):
    config = tomllib.loads((exported / "task.toml").read_text())
    assert config["verifier"]["environment_mode"] == "separate"
    assert config["artifacts"] == ["/app/submission.csv"]
    assert config["environment"]["network_mode"] == config["verifier"]["environment"]["network_mode"] == "no-network"
    assert config["task"] == {
        "name": "trl-mle/toy",
        "description": "A line",
        "keywords": ["machine-learning-engineering", "trl_mle"],
    }
    text = (exported / "instruction.md").read_text()
    assert "Predict y from a and b." in text
    assert "/app/submission.csv" in text
    assert "1800 s in all" in text
    assert "exactly one" not in text, "an agent does not answer with a block of code"
    assert "numpy==" in (exported / "environment/Dockerfile").read_text()
    for name in ("tests/test.sh", "solution/solve.sh"):
        assert (exported / name).stat().st_mode & stat.S_IXUSR
    assert (exported / "tests/Dockerfile").read_text().count("COPY") == 1


@pytest.mark.slow
def test_the_verifier_grades_as_the_task_does(task, exported, tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    rewards = {}
    for name, path in submissions(task, work).items():
        out = tmp_path / "logs" / name
        done = verify(exported, path, out)
        assert done.returncode == 0, done.stderr
        result = json.loads((out / "reward.json").read_text())
        assert all(isinstance(value, (int, float)) for value in result.values()), "Harbor refuses anything else"
        grade, private = task.grade(path), task.grade(path, "private")
        assert result["valid"] == grade.valid
        assert result.get("score") == grade.score
        assert result.get("private_score") == private.score
        assert (out / "reason.txt").read_text() == (grade.reason or "")
        rewards[name] = result["reward"]
        if grade.valid:
            assert result["reward"] == transform_score(grade.score, task.direction, task.transform)
    assert rewards["perfect"] == 1.0
    assert rewards["perfect"] > rewards["sample"] > rewards["terrible"] > -1.0
    failures = set(rewards) - {"perfect", "sample", "terrible"}
    assert {rewards[name] for name in failures} == {-10.0}


def test_one_submission_through_the_verifier(task, exported, tmp_path):
    done = verify(exported, task.sample_path, tmp_path / "logs")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "logs/reward.json").read_text())
    assert result["score"] == task.grade(task.sample_path).score


@pytest.mark.slow
def test_a_competition_is_graded_by_the_verifier(tmp_path, monkeypatch):
    monkeypatch.setenv("MLEBENCH_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("TRL_MLE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(package, "find_spec", lambda name: None)
    answers = spooky(tmp_path / "data")
    task = load_task("mlebench:spooky-author-identification")
    exported = export_harbor(task, tmp_path / "out")
    half = answers.assign(**dict.fromkeys(AUTHORS, 1 / 3))
    for number, table in enumerate((answers, half, half[1:])):
        path = tmp_path / f"{number}.csv"
        table.to_csv(path, index=False)
        done = verify(exported, path, tmp_path / "logs")
        assert done.returncode == 0, done.stderr
        result, grade = json.loads((tmp_path / "logs/reward.json").read_text()), task.grade(path)
        assert (result["valid"], result.get("score")) == (grade.valid, grade.score)
        expected = transform_score(grade.score, task.direction, task.transform) if grade.valid else -10.0
        assert result["reward"] == expected
    seen = [path.read_bytes() for path in (exported / "environment").rglob("*") if path.is_file()]
    assert not [path for path in task.private_dir.iterdir() if path.read_bytes() in seen]


@pytest.mark.slow
def test_a_broken_verifier_gives_no_reward(task, tmp_path):
    exported = export_harbor(task, tmp_path / "out")
    (exported / "tests/task/private/answers.csv").write_text("id,y,split\n1,x,public\n")
    done = verify(exported, task.sample_path, tmp_path / "logs")
    assert done.returncode != 0
    assert "GradingError" in done.stderr
    assert not (tmp_path / "logs/reward.json").exists()


@pytest.mark.parametrize("name", GRADERS)
def test_the_copied_code_is_small(name):
    code = grading_code(folder.GRADERS[name])
    assert sum(map(len, code.values())) < 300_000
    assert code["trl_mle/__init__.py"] == ""
    assert "trl_mle/grading/grader.py" in code
    assert not [name for name in code if "sandboxes" in name or "training" in name]


@pytest.mark.parametrize(
    ("changes", "settings", "message"),
    [
        ({"packages": ("numpy; curl evil",)}, {}, "packages holds 'numpy; curl evil'"),
        ({"packages": ("--index-url=x",)}, {}, "packages holds"),
        ({}, {"network": "all"}, "'all'.*no-network or public"),
        ({}, {"agent_timeout_s": float("nan")}, "--agent-timeout-s"),
    ],
)
def test_what_cannot_be_exported_leaves_nothing(task, tmp_path, changes, settings, message):
    with pytest.raises(TaskError, match=message):
        export_harbor(replace(task, **changes), tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()


def test_a_link_to_the_answers_is_not_followed(tmp_path):
    task = toy_task(tmp_path)
    (task.public_dir / "more.csv").symlink_to(task.private_dir / "answers.csv")
    with pytest.raises(TaskError, match=r"more\.csv is no regular file"):
        export_harbor(task, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_existing_folder_is_kept(task, tmp_path):
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy/mine").touch()
    with pytest.raises(TaskError, match="exists already"):
        export_harbor(task, tmp_path)
    assert [path.name for path in (tmp_path / "toy").iterdir()] == ["mine"]


def test_titles_and_ids_of_any_kind_are_toml(task, tmp_path):
    title = "\"a\" \\ 'b'\n\x7f\x01 \U0001f600 [x] = 1 #"
    exported = export_harbor(replace(task, title=title, id="mlebench:a..b"), tmp_path, config=RewardConfig(-20.0))
    config = tomllib.loads((exported / "task.toml").read_text())
    assert (config["task"]["description"], config["task"]["name"]) == (title, "trl-mle/a.b")
    assert json.loads((exported / "tests/settings.json").read_text())["failure_reward"] == -20.0


LOADER = """
import json, sys
from pathlib import Path
from harbor.models.task.task import Task
from harbor.models.task.verifier_mode import resolve_verifier_environment_definition
folder = Path(sys.argv[1])
assert Task.is_valid_dir(folder)
task = Task(folder)
box = resolve_verifier_environment_definition(task.config, task.paths)
print(json.dumps({
    "name": task.name, "instruction": task.instruction, "mode": task.config.verifier.environment_mode.value,
    "box": box.directory.name, "bundled": box.bundled_tests, "workdir": box.config.workdir,
    "solution": task.paths.discovered_solve_path.name, "test": task.paths.discovered_test_path_for(None).name,
    "artifacts": task.config.artifacts, "network": task.config.environment.network_mode.value,
}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["toy", "builtin:diabetes", "builtin:segment"])
def test_harbors_own_loader_opens_it(task, tmp_path, name):
    if not HARBOR:
        pytest.skip("set TRL_MLE_HARBOR_PYTHON to a Python of 3.12 or later with the package harbor")
    task = task if name == "toy" else load_task(name)
    exported = export_harbor(task, tmp_path)
    done = subprocess.run(
        [HARBOR, "-I", "-c", LOADER, exported], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen.pop("instruction") == (exported / "instruction.md").read_text()
    assert seen == {
        "name": f"trl-mle/{task.id.rpartition(':')[2]}",
        "mode": "separate",
        "box": "tests",
        "bundled": True,
        "workdir": "/app",
        "solution": "solve.sh",
        "test": "test.sh",
        "artifacts": ["/app/submission.csv"],
        "network": "no-network",
    }


def test_a_description_with_a_heading_of_rules_is_not_cut(task):
    text = instruction(
        replace(task, description="Predict.\n\n# Rules\nFirst.\n\nAnd the columns."), 60.0, "no-network"
    )
    assert "And the columns." in text and text.count("Work in /app") == 1


def test_a_competition_that_the_package_alone_grades_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("MLEBENCH_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("TRL_MLE_CACHE", str(tmp_path / "cache"))
    spooky(tmp_path / "data")
    known = load_task("mlebench:spooky-author-identification")
    other = replace(known, grader_options={**known.grader_options, "competition": "plant-pathology-2020-fgvc7"})
    with pytest.raises(TaskError, match="graded by the package mlebench, which a verifier does not have"):
        export_harbor(other, tmp_path / "out")
    assert not (tmp_path / "out").exists()
