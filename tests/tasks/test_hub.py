"""Task folders to a data set of the Hub and back; a hostile data set."""

from __future__ import annotations

import inspect
import os
import shutil

import huggingface_hub
import pytest

from tests.support.hub import FolderHub
from tests.support.tasks import toy_task
from trl_mle.errors import TaskError
from trl_mle.tasks import load_task
from trl_mle.tasks.hub import pull, pull_tasks, push_tasks
from trl_mle.tasks.hub.layout import place_of_file


@pytest.fixture
def task(tmp_path):
    task = toy_task(tmp_path / "mine", reference="print(1)\n")
    (task.public_dir / "images" / "deep").mkdir(parents=True)
    (task.public_dir / "images" / "deep" / "a b.png").write_bytes(b"png")
    (task.folder / "notes.txt").write_text("not uploaded")
    return task


@pytest.fixture
def hub(tmp_path, monkeypatch):
    return FolderHub(tmp_path / "hub").install(monkeypatch)


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_task_comes_back_as_it_was(tmp_path, task, hub):
    assert push_tasks([task], "me/tasks") == "https://hub/datasets/me/tasks"
    (pulled,) = pull_tasks("me/tasks", tmp_path / "out")
    assert (pulled.id, pulled.folder, pulled.note) == ("toy", tmp_path / "out/toy", "")
    expected = files(task.folder)
    del expected["notes.txt"]
    assert files(pulled.folder) == expected
    again = load_task(pulled.folder)
    sample = task.sample_path
    assert again.grade(sample, "private") == task.grade(sample, "private")
    assert (again.private_dir.stat().st_mode & 0o777, again.train_path.stat().st_mode & 0o777) == (0o700, 0o444)
    assert (again.private_dir / "answers.csv").stat().st_mode & 0o777 == 0o600
    with pytest.raises(TaskError, match="exists already"):
        raise TaskError(pull_tasks("me/tasks", tmp_path / "out")[0].note)


def test_many_tasks_are_one_commit_and_some_are_pulled(tmp_path, task, hub):
    others = []
    for number in range(19):
        folder = shutil.copytree(task.folder, tmp_path / "many" / str(number))
        (folder / "task.yaml").write_text(
            (folder / "task.yaml").read_text().replace("id: toy", f"id: toy-{number}", 1)
        )
        others.append(load_task(folder))
    push_tasks([task, *others], "me/tasks")
    assert hub.commits == 1
    assert "20 tasks" in (hub.root / "README.md").read_text()
    pulled = pull_tasks("me/tasks", tmp_path / "out", ["toy-7", "toy"])
    assert [each.id for each in pulled] == ["toy-7", "toy"]
    assert sorted(os.listdir(tmp_path / "out")) == ["toy", "toy-7"]


def test_a_second_push_replaces_its_tasks_and_keeps_the_others(tmp_path, task, hub):
    push_tasks([task], "me/tasks")
    (task.public_dir / "images" / "deep" / "a b.png").unlink()
    (hub.root / "tasks/other/public").mkdir(parents=True)
    (hub.root / "tasks/other/public/train.csv").write_text("x\n")
    push_tasks([task], "me/tasks", license="cc-by-4.0")
    assert not (hub.root / "tasks/toy/public/images/deep/a b.png").exists()
    assert (hub.root / "tasks/other/public/train.csv").exists()
    card = (hub.root / "README.md").read_text()
    assert "license: cc-by-4.0" in card
    assert "| `other` |" in card
    assert "| `toy` | A line | rmse (minimize) | tabular |" in card


def test_without_answers_none_are_uploaded_and_the_pulled_task_says_so(tmp_path, task, hub):
    push_tasks([task], "me/tasks")
    push_tasks([task], "me/tasks", answers=False, private=False)
    assert not [name for name in files(hub.root) if "private" in name or "answers" in name]
    (pulled,) = pull_tasks("me/tasks", tmp_path / "out")
    assert "cannot grade" in pulled.note
    with pytest.raises(TaskError, match="published without its answers"):
        load_task(pulled.folder)


def test_a_task_whose_leaderboard_is_not_uploaded_is_pulled_all_the_same(tmp_path, task, hub):
    yaml = task.folder / "task.yaml"
    lines = [line for line in yaml.read_text().splitlines() if not line.startswith("transform")]
    yaml.write_text("\n".join([*lines, "transform: {kind: percentile, leaderboard: board.csv}"]))
    (task.private_dir / "board.csv").write_text("score\n0.5\n2.5\n")
    push_tasks([load_task(task.folder)], "me/tasks", answers=False)
    (pulled,) = pull_tasks("me/tasks", tmp_path / "out")
    assert pulled.folder is not None and "cannot grade" in pulled.note
    with pytest.raises(TaskError, match="published without its answers"):
        load_task(pulled.folder)
    shutil.copytree(task.private_dir, pulled.folder / "private")
    assert load_task(pulled.folder).transform.leaderboard == (0.5, 2.5)


@pytest.mark.parametrize("existing", [False, True])
def test_answers_become_public_only_if_one_says_so(tmp_path, task, hub, existing):
    if existing:  # a public data set that is there already
        hub.root.mkdir()
        hub.private = False
    with pytest.raises(TaskError, match=r"'me/tasks' is public, and the tasks' answers would be.*--publish-answers"):
        push_tasks([task], "me/tasks", private=existing)
    assert hub.commits == 0
    push_tasks([task], "me/tasks", private=False, publish_answers=True)
    assert hub.commits == 1


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda task: (task.public_dir / "link").symlink_to("/etc/passwd"), "link is no regular file"),
        (lambda task: (task.public_dir / "folder").symlink_to("/etc"), "folder is no regular file"),
        (lambda task: os.mkfifo(task.private_dir / "pipe"), "pipe is no regular file"),
        (lambda task: (task.public_dir / "a\\b").touch(), "has a name that not every machine can hold"),
    ],
)
def test_a_folder_with_other_things_than_files_is_not_pushed(task, hub, spoil, message):
    spoil(task)
    with pytest.raises(TaskError, match=message):
        push_tasks([task], "me/tasks")
    assert hub.commits == 0


def test_what_cannot_be_pushed_is_named(task, hub):
    for tasks, settings, message in (
        ([], {}, "no task was given"),
        ([task, task], {}, "both have the id 'toy'"),
        ([task], {"license": "a\nb"}, "--license"),
    ):
        with pytest.raises(TaskError, match=message):
            push_tasks(tasks, "me/tasks", **settings)


@pytest.mark.parametrize(
    "path",
    [
        "tasks/../x/task.yaml",
        "tasks/toy/../../x",
        "tasks/toy/public/../../task.yaml",
        "tasks/toy//task.yaml",
        "/tasks/toy/task.yaml",
        "tasks/toy/public/a\\b",
        "tasks/toy/public/C:x",
        "tasks/toy/public/a\x00b",
        "tasks/.toy/task.yaml",
        "tasks/toy/setup.py",
        "tasks/toy/other/x",
        "tasks/toy/public",
        "x/toy/task.yaml",
    ],
)
def test_no_path_leads_out_of_a_task(path):
    assert place_of_file(path) is None


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda home: (home / "task.yaml").write_text("id: toy\n"), "key 'title' is missing"),
        (
            lambda home: (home / "task.yaml").write_text((home / "task.yaml").read_text().replace("toy", "x", 1)),
            "has the id 'x'",
        ),
        (lambda home: (home / "task.yaml").unlink(), "task.yaml does not exist"),
        (lambda home: (home / "public/test.csv").unlink(), "test.csv does not exist"),
        (
            lambda home: shutil.copy(home / "private/answers.csv", home / "public/test.csv"),
            "answers away|no column|holds",
        ),
    ],
)
def test_a_task_that_is_refused_leaves_nothing_and_the_others_come(tmp_path, task, hub, spoil, message):
    push_tasks([task], "me/tasks")
    good = shutil.copytree(hub.root / "tasks/toy", hub.root / "tasks/zebra")
    (good / "task.yaml").write_text((good / "task.yaml").read_text().replace("id: toy", "id: zebra", 1))
    spoil(hub.root / "tasks/toy")
    refused, pulled = pull_tasks("me/tasks", tmp_path / "out")
    assert refused.folder is None
    with pytest.raises(TaskError, match=message):
        raise TaskError(refused.note)
    assert os.listdir(tmp_path / "out") == ["zebra"]
    assert load_task(pulled.folder).id == "zebra"


def test_an_unforeseen_error_of_one_task_refuses_it_alone(tmp_path, task, hub, monkeypatch):
    push_tasks([task], "me/tasks")
    good = shutil.copytree(hub.root / "tasks/toy", hub.root / "tasks/zebra")
    (good / "task.yaml").write_text((good / "task.yaml").read_text().replace("id: toy", "id: zebra", 1))
    monkeypatch.setattr(
        pull, "load_folder", lambda folder: 1 / 0 if "id: toy" in (folder / "task.yaml").read_text() else 0
    )
    refused, pulled = pull_tasks("me/tasks", tmp_path / "out")
    assert refused.note == "its files cannot be read: ZeroDivisionError: division by zero"
    assert os.listdir(tmp_path / "out") == ["zebra"] and pulled.folder is not None


def test_a_grader_that_is_a_program_needs_trust(tmp_path, task, hub, monkeypatch):
    monkeypatch.setattr(pull, "CODE_GRADERS", ("tabular",))
    push_tasks([task], "me/tasks")
    (refused,) = pull_tasks("me/tasks", tmp_path / "out")
    assert "--trust-code" in refused.note
    assert not (tmp_path / "out").exists()
    (pulled,) = pull_tasks("me/tasks", tmp_path / "out", trust_code=True)
    assert pulled.folder is not None


def test_too_much_or_nothing_is_refused_before_the_download(tmp_path, task, hub, monkeypatch):
    push_tasks([task], "me/tasks")
    monkeypatch.setattr(FolderHub, "snapshot_download", None)
    with pytest.raises(TaskError, match=r"more than .* files or .*e-08 GiB; choose some"):
        pull_tasks("me/tasks", tmp_path / "out", max_bytes=107)
    with pytest.raises(TaskError, match="has no task 'none'; it has toy"):
        pull_tasks("me/tasks", tmp_path / "out", ["none"])
    (hub.root / "tasks/toy/task.yaml").write_text("#" * (pull.MAX_TEXT_BYTES + 1))
    with pytest.raises(TaskError, match="no honest one has"):
        pull_tasks("me/tasks", tmp_path / "out")
    shutil.rmtree(hub.root / "tasks")
    with pytest.raises(TaskError, match="has no folder tasks/<id> with a task"):
        pull_tasks("me/tasks", tmp_path / "out")


def test_files_that_are_none_of_a_task_count_because_they_are_downloaded(tmp_path, task, hub, monkeypatch):
    push_tasks([task], "me/tasks")
    others = ["tasks/toy/junk/large.bin", "tasks/toy/public/large\\x", "large.bin", "tasks/.x/large.bin"]
    for name in others:
        (hub.root / name).parent.mkdir(parents=True, exist_ok=True)
        (hub.root / name).write_bytes(bytes(200_000))
    with pytest.raises(TaskError, match=r"choose some of them \(`--task`\), or allow more"):
        pull_tasks("me/tasks", tmp_path / "out", max_bytes=300_000)
    assert not (tmp_path / "snapshot").exists()
    (pulled,) = pull_tasks("me/tasks", tmp_path / "out", max_bytes=500_000)
    assert {name for name in others if (tmp_path / "snapshot" / name).exists()} == set(others[:2])
    there = files(pulled.folder)
    assert not [name for name in there if "large" in name]
    monkeypatch.setattr(pull, "MAX_FILES", len(there) + 1)
    with pytest.raises(TaskError, match=f"have {len(there) + 2} files"):
        pull_tasks("me/tasks", tmp_path / "again")


def test_the_stand_in_has_the_methods_of_the_real_client():
    for name in ("create_repo", "dataset_info", "create_commit", "snapshot_download"):
        used = inspect.signature(getattr(FolderHub, name)).parameters
        assert set(used) <= set(inspect.signature(getattr(huggingface_hub.HfApi, name)).parameters), name


def test_a_hub_that_cannot_be_reached_is_named(tmp_path, task):
    """Tests are offline."""
    with pytest.raises(TaskError, match=r"could not be pushed to 'no such/name'.*hf auth login"):
        push_tasks([task], "no such/name")
    with pytest.raises(TaskError, match="'me/tasks' could not be read"):
        pull_tasks("me/tasks", tmp_path / "out")
