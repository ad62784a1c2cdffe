"""Files that are no store, damaged or newer are left as they are. A store outlives full disks and half-written logs."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.experience import valid
from trl_mle import ExperienceStore
from trl_mle.errors import StoreError, UserError
from trl_mle.experience import database
from trl_mle.experience.entries import Entry
from trl_mle.experience.schema import STORE_VERSION


def filled(path: Path, n: int = 50) -> Path:
    """A store of `n` outcomes, closed."""
    with ExperienceStore(path) as store:
        store.add_entries([Entry(valid(number / n)) for number in range(n)])
    return path


def sqlite_file(path: Path, *statements: str) -> Path:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    return path


def empty_folder(path: Path) -> Path:
    path.mkdir()
    return path


def cut(path: Path) -> Path:
    filled(path)
    os.truncate(path, path.stat().st_size // 2)
    return path


def overwritten(path: Path) -> Path:
    """A store of which everything behind the header is noise."""
    filled(path)
    noise = bytes(range(256)) * (path.stat().st_size // 256)
    path.write_bytes(path.read_bytes()[:100] + noise[100:])
    return path


def overwritten_index(path: Path) -> Path:
    """A store in whose middle a page is noise: the tables that choices rest on are damaged."""
    filled(path, 400)
    with closing(sqlite3.connect(path)) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'candidates'").fetchone()
    content = bytearray(path.read_bytes())
    content[(page - 1) * 4096 : page * 4096] = b"\xff" * 4096
    path.write_bytes(content)
    return path


def garbled(path: Path) -> Path:
    """A store whose tables are described by what is no text: SQLite's message quotes it."""
    content = filled(path).read_bytes()
    path.write_bytes(content.replace(b"CREATE UNIQUE INDEX by_number", b"CREATE UNIQUE IND\xffX by_number"))
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_text("hello") and path, "no SQLite file"),
        (lambda path: path.write_bytes(b"SQLite format 3\0") and path, "no SQLite file"),
        (lambda path: sqlite_file(path, "CREATE TABLE rows (id)"), "other software"),
        (lambda path: sqlite_file(filled(path), f"PRAGMA user_version = {STORE_VERSION + 1}"), "Upgrade trl_mle"),
        (lambda path: sqlite_file(filled(path), "DROP TABLE families"), "damaged.*no table `families`"),
        (lambda path: sqlite_file(filled(path), "CREATE VIEW v AS SELECT 1"), "it has a view `v`"),
        (
            lambda path: sqlite_file(
                filled(path), "CREATE TRIGGER t AFTER INSERT ON rows BEGIN DELETE FROM rows; END"
            ),
            "it has a trigger `t`",
        ),
        (lambda path: sqlite_file(filled(path), "CREATE VIRTUAL TABLE v USING fts5(a)"), "it has a virtual table `v`"),
        (cut, "damaged"),
        (overwritten, "damaged"),
        (overwritten_index, "damaged"),
        (garbled, "damaged.*Restore"),
        (empty_folder, "cannot be used"),
    ],
    ids=[
        "text",
        "header",
        "other",
        "newer",
        "table",
        "view",
        "trigger",
        "virtual",
        "cut",
        "noise",
        "index",
        "garbled",
        "folder",
    ],
)
def test_what_is_no_store_is_refused_and_left_alone(tmp_path, make, message):
    path = make(tmp_path / "experience.sqlite")
    before = path.read_bytes() if path.is_file() else None
    names = sorted(os.listdir(tmp_path))
    for read_only in (False, True):
        with pytest.raises(StoreError, match=message) as caught:
            ExperienceStore(path, read_only=read_only)
        assert str(path) in str(caught.value)
    assert (path.read_bytes() if path.is_file() else None) == before
    assert [name for name in sorted(os.listdir(tmp_path)) if not name.endswith(("-shm", "-wal"))] == names


def test_a_damaged_outcome_is_named_when_it_is_read(tmp_path):
    """The rows are not looked at when a store is opened: there may be gigabytes of them."""
    path = filled(tmp_path / "experience.sqlite", 400)
    with closing(sqlite3.connect(path)) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'rows'").fetchone()
    content = bytearray(path.read_bytes())
    content[(root - 1) * 4096 : root * 4096] = b"\xff" * 4096
    path.write_bytes(content)
    with ExperienceStore(path) as store, pytest.raises(StoreError, match=r"damaged.*Restore"):
        store.choose_parent("toy")


def test_a_program_that_a_damaged_store_lacks_is_named(tmp_path):
    path = sqlite_file(filled(tmp_path / "experience.sqlite", 2), "DELETE FROM candidates")
    with ExperienceStore(path) as store, pytest.raises(StoreError, match="damaged in the programs of the task 'toy'"):
        store.choose_parent("toy", "latest")


def test_nothing_is_made_in_a_folder_that_does_not_exist(tmp_path):
    with pytest.raises(StoreError, match=r"No such file or directory|folder exist"):
        ExperienceStore(tmp_path / "none/experience.sqlite")
    with pytest.raises(StoreError, match="There is no experience store at"):
        ExperienceStore(tmp_path / "experience.sqlite", read_only=True)
    assert os.listdir(tmp_path) == []


def test_an_empty_file_becomes_a_store(tmp_path):
    path = tmp_path / "experience.sqlite"
    path.touch()
    assert len(ExperienceStore(filled(path))) == 50
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")], "no draft is left"


@pytest.mark.parametrize("keep", [0, 10, 32, 5000, 30_001])
def test_a_half_written_log_does_not_stop_a_store(tmp_path, keep):
    with ExperienceStore(tmp_path / "experience.sqlite") as store:
        for number in range(10):
            store.add(valid(number / 10))
        with store._database._connected() as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for number in range(10, 20):
            store.add(valid(number / 10))
        copy = tmp_path / "copy.sqlite"  # as a machine that loses power leaves it
        shutil.copy(store.path, copy)
        log = Path(f"{store.path}-wal").read_bytes()
    Path(f"{copy}-wal").write_bytes(log[:keep])
    with ExperienceStore(copy) as store:
        assert 10 <= len(store) <= 20
        assert store.position == len(store)
        assert [experience.outcome.reward for experience in store] == [n / 10 for n in range(len(store))]
        store.add(valid(9.0))
        assert store.best("toy")[0].outcome.reward == 9.0


def test_noise_in_place_of_the_log_is_ignored(tmp_path):
    path = filled(tmp_path / "experience.sqlite")
    Path(f"{path}-wal").write_bytes(os.urandom(10_000))
    with ExperienceStore(path) as store:
        assert len(store) == 50


def test_a_full_disk_loses_nothing(tmp_path):
    with ExperienceStore(filled(tmp_path / "experience.sqlite")) as store:
        with store._database.read() as db:
            (pages,) = db.execute("PRAGMA page_count").fetchone()
            db.execute(f"PRAGMA max_page_count = {pages + 20}")
        with pytest.raises(StoreError, match=r"experience\.sqlite: The disk.*is full\. Free some space"):
            for number in range(1000):
                store.add(valid(2.0 + number))
        whole = len(store)
        assert whole > 50
        assert store.best("toy")[0].outcome.reward == 2.0 + whole - 51
        with store._database.read() as db:
            db.execute(f"PRAGMA max_page_count = {pages + 500}")
        store.add(valid(9e6))
        assert len(store) == whole + 1


def test_a_batch_that_does_not_fit_is_not_there_at_all(tmp_path):
    with ExperienceStore(filled(tmp_path / "experience.sqlite")) as store:
        with store._database.read() as db:
            (pages,) = db.execute("PRAGMA page_count").fetchone()
            db.execute(f"PRAGMA max_page_count = {pages + 20}")
        with pytest.raises(StoreError, match="full"):
            store.add_entries([Entry(valid(number)) for number in range(2, 1000)])
        assert len(store) == 50


@pytest.fixture
def foreign_store() -> Iterator[Path]:
    """A store that an ordinary user may read and may not write, in a folder of which that is true, too."""
    with tempfile.TemporaryDirectory() as folder:  # those of pytest are closed to other users
        path = filled(Path(folder) / "experience.sqlite")
        path.chmod(0o444)
        Path(folder).chmod(0o555)
        yield path
        Path(folder).chmod(0o755)


def as_ordinary_user(work: Callable[[], object]) -> str:
    """What `work` returns or raises, as text, in a process of a user without rights."""
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        try:
            if os.geteuid() == 0:
                os.setuid(65534)
            try:
                result = str(work())
            except Exception as error:
                result = f"{type(error).__name__}: {error}"
            os.write(writer, result.encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with open(reader, encoding="utf-8") as pipe:
        return pipe.read()


def test_a_store_that_may_not_be_written_is_named(foreign_store):
    def add():
        with ExperienceStore(foreign_store) as store:
            return store.add(valid(0.5))

    before = foreign_store.read_bytes()
    assert re.match(rf"StoreError: The experience store {foreign_store}: .*(may write|written)", as_ordinary_user(add))
    assert foreign_store.read_bytes() == before


def test_a_store_that_may_not_be_written_can_be_read(foreign_store):
    def best():
        with ExperienceStore(foreign_store, read_only=True) as store:
            return store.best("toy")[0].outcome.reward

    assert as_ordinary_user(best) == "0.98"


def test_a_store_that_may_not_be_read_is_named(foreign_store):
    foreign_store.chmod(0o000)
    for opened in (lambda: ExperienceStore(foreign_store), lambda: ExperienceStore(foreign_store, read_only=True)):
        assert "StoreError: The experience store" in as_ordinary_user(opened)


def test_a_store_that_another_process_keeps_locked_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "BUSY_S", 0.05)
    with ExperienceStore(filled(tmp_path / "experience.sqlite")) as store:
        with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreError, match="Another process has kept it locked"):
                store.add(valid(0.5))
            assert store.choose_parent("toy") is not None, "reading does not wait"
            other.execute("ROLLBACK")
        store.add(valid(0.5))


def test_the_error_is_a_user_error():
    assert issubclass(StoreError, UserError)
