"""Several processes on one store, forked and killed at any moment."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from tests.experience.test_files import filled
from tests.support.experience import valid
from trl_mle import ExperienceStore
from trl_mle.experience import database
from trl_mle.scripts.experience_demonstrations import is_experience


def test_a_child_of_a_fork_uses_a_connection_of_its_own(tmp_path):
    with ExperienceStore(filled(tmp_path / "experience.sqlite")) as store:
        child = os.fork()
        if child == 0:
            try:
                store.add(valid(7.0))
                store.close()
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        store.add(valid(8.0))
        assert len(store) == 52
        assert [best.outcome.reward for best in store.best("toy", 2)] == [8.0, 7.0]


def test_a_fork_never_meets_a_lock_that_a_thread_held(tmp_path):
    with ExperienceStore(filled(tmp_path / "experience.sqlite")) as store, store._database.read():
        child = os.fork()
        if child == 0:
            thread = threading.Thread(target=lambda: store.choose_parent("toy"), daemon=True)
            thread.start()
            thread.join(60)
            os._exit(thread.is_alive())
        assert os.waitpid(child, 0)[1] == 0


def is_locked(path: Path) -> bool:
    """Whether this process holds SQLite's shared lock on a store, as another process sees it."""
    if (child := os.fork()) == 0:
        try:
            with path.open("r+b") as file:
                fcntl.lockf(
                    file, fcntl.LOCK_EX | fcntl.LOCK_NB, 510, 0x40000002
                )  # https://www.sqlite.org/src/file/src/os.h
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1


def test_a_second_look_at_a_store_leaves_the_first_one_its_locks(tmp_path):
    """Without them, a process that opens and closes the store takes itself for the last one, and deletes the log."""
    path = filled(tmp_path / "experience.sqlite", 1)
    with ExperienceStore(path), ExperienceStore(tmp_path / "other.sqlite") as other:
        assert is_locked(path)
        ExperienceStore(path, read_only=True).close()
        assert is_experience(str(path)) and other.import_from(path) == 1
        assert is_locked(path)
    assert not is_locked(path)


def test_a_store_that_another_process_makes_meanwhile_is_kept(tmp_path, monkeypatch):
    path = tmp_path / "experience.sqlite"

    def meanwhile(size: int) -> str:
        monkeypatch.undo()
        filled(path, 3)
        return "draft"

    monkeypatch.setattr(database.secrets, "token_hex", meanwhile)
    with ExperienceStore(path) as store:
        assert len(store) == 3
    database._fill(path)  # it was empty when this process looked
    with ExperienceStore(path) as store:
        assert len(store) == 3
    assert os.listdir(tmp_path) == [path.name]


def test_a_sync_does_not_wait_for_readers(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "BUSY_S", 0.05)
    with (
        ExperienceStore(filled(tmp_path / "experience.sqlite")) as store,
        closing(sqlite3.connect(store.path)) as other,
    ):
        other.execute("BEGIN")
        other.execute("SELECT * FROM tasks").fetchall()
        store.add(valid(0.5))
        assert store.sync() == store.position == 51
        assert len(list(other.execute("SELECT * FROM experiences"))) == 50


WRITER = """
import sys
from tests.support.experience import valid
from trl_mle import ExperienceStore
store = ExperienceStore(sys.argv[1])
for number in range(int(sys.argv[2])):
    parent = store.choose_parent("toy")
    id_ = store.add(valid(float(sys.argv[3]) + number), parent=parent and parent.id)
    print(id_, flush=True)
"""


def writer(path: Path, n: int, first: float) -> subprocess.Popen[str]:
    """A process that adds `n` outcomes, and prints the id of each one once it is stored."""
    command = [sys.executable, "-c", WRITER, str(path), str(n), str(first)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])


def is_whole(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as connection:
        (state,) = connection.execute("PRAGMA integrity_check").fetchone()
        counts = [
            connection.execute(f"SELECT count(*), max(id) FROM {table}").fetchone()
            for table in ("rows", "experiences")
        ]
        known = connection.execute("SELECT sum(experiences), sum(candidates) FROM tasks").fetchone()
        candidates = connection.execute("SELECT count(*) FROM candidates").fetchone()
    return state == "ok" and counts[0] == counts[1] and known == (counts[0][0] or None, candidates[0] or None)


def test_processes_share_a_new_store(tmp_path):
    path = tmp_path / "experience.sqlite"
    writers = [writer(path, 40, first) for first in (0, 1000)]
    ids = [int(line) for process in writers for line in process.communicate(timeout=120)[0].split()]
    assert sorted(ids) == list(range(1, 81))
    assert is_whole(path)
    with ExperienceStore(path) as store:
        assert store.tasks()[0].candidates == 80


@pytest.mark.slow
def test_a_killed_writer_leaves_whole_outcomes(tmp_path):
    """Killed again and again at any moment: everything that was said to be stored is there, and nothing is there in part."""
    path = tmp_path / "experience.sqlite"
    said: set[int] = set()
    for round_ in range(12):
        process = writer(path, 10**6, 1000.0 * round_)
        assert process.stdout is not None
        for _ in range(3 + 17 * (round_ % 4)):
            line = process.stdout.readline()
            said.add(int(line))
        process.kill()
        rest = process.stdout.read()
        said.update(int(line) for line in rest.splitlines(keepends=True) if line.endswith("\n"))
        process.wait()
        with ExperienceStore(path) as store:
            ids = [experience.id for experience in store]
            assert said <= set(ids)
            assert ids == list(range(1, len(ids) + 1))
        assert is_whole(path)
    assert len(said) > 200


@pytest.mark.slow
def test_a_process_killed_while_it_makes_a_store_leaves_none_or_a_whole_one(tmp_path):
    code = "import sys, pathlib, trl_mle.experience.database as d\nprint(flush=True)\nd.open_database(pathlib.Path(sys.argv[1]))"
    made = 0
    for round_ in range(20):
        path = tmp_path / f"{round_}.sqlite"
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
        )
        assert process.stdout is not None
        process.stdout.readline()
        try:
            process.wait(timeout=0.01 * round_)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        made += path.exists()
        with ExperienceStore(path) as store:
            store.add(valid(0.5))
        assert is_whole(path)
    assert made > 0
