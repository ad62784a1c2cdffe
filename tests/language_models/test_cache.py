"""DiskCache: shared by processes, loads only texts, and no error of it stops a question."""

from __future__ import annotations

import pickle
import sqlite3
import subprocess
import sys
import time

import pytest

from tests.support.hang import HANG_S
from trl_mle.errors import UserError
from trl_mle.language_models.backends import Answer
from trl_mle.language_models.cache import CacheTiming, DiskCache, cache_key, default_cache_dir

diskcache = pytest.importorskip("diskcache")
KEY = cache_key("x = 1", "m", "v", "lines", 200)


def test_answers_are_kept(tmp_path):
    cache = DiskCache(tmp_path)
    assert cache.get(KEY) is None
    for answer in (
        Answer("loaded_data: 4", False),
        Answer("ü\udc80\n", True),
        Answer("", True),
        Answer("a" * 65536, False),
    ):
        cache.put(KEY, answer)
        assert DiskCache(tmp_path).get(KEY) == answer
    assert cache.errors == 0


def test_the_key_holds_all_that_an_answer_depends_on():
    keys = {
        KEY,
        cache_key("x = 2", "m", "v", "lines", 200),
        cache_key("x = 1", "n", "v", "lines", 200),
        cache_key("x = 1", "m", "w", "lines", 200),
        cache_key("x = 1", "m", "v", "rewrite", 200),
        cache_key("x = 1", "m", "v", "lines", 300),
        cache_key("\udc80", "m", "v", "lines", 200),
    }
    assert len(keys) == 7


def test_the_key_of_a_programs_answer_stays_the_same():
    """Answers that users have on disk are found again."""
    assert cache_key("x = 1", "m", "v", "lines", 200) == (
        "a94bcaccb0c1e35e593213d035567fa51e1dac780dab5a0e9fb1bc18583cb39b"
    )


def test_a_conversation_is_a_key_too():
    conversation = [{"role": "user", "content": "x = 1"}]
    keys = {
        cache_key(conversation, "m"),
        cache_key([*conversation, {"role": "assistant", "content": ""}], "m"),
        cache_key([{"role": "system", "content": "x = 1"}], "m"),
        cache_key(conversation, "n"),
        cache_key(conversation, "m", 0.7),
        cache_key("x = 1", "m"),
    }
    assert len(keys) == 6
    assert cache_key(tuple(conversation), "m") == cache_key(conversation, "m")


def test_a_damaged_cache_is_counted_and_passed_by(tmp_path, caplog):
    DiskCache(tmp_path).put(KEY, Answer("a", False))
    (tmp_path / "cache.db").write_bytes(b"this is no database" * 1000)
    for journal in tmp_path.glob("cache.db-*"):
        journal.unlink()
    cache = DiskCache(tmp_path)
    assert cache.get(KEY) is None
    cache.put(KEY, Answer("a", False))
    assert cache.errors >= 1
    (record,) = caplog.records
    assert str(tmp_path) in record.getMessage()


def test_a_cache_damaged_while_it_is_used(tmp_path):
    cache = DiskCache(tmp_path)
    cache.put(KEY, Answer("a", False))
    (tmp_path / "cache.db").write_bytes(b"x" * 50_000)
    for journal in tmp_path.glob("cache.db-*"):
        journal.write_bytes(b"")
    for _ in range(3):
        assert cache.get(KEY) in (None, Answer("a", False))  # what SQLite still holds in memory, or nothing
        cache.put(KEY, Answer("b", False))


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_folder_that_cannot_be_made(tmp_path, place):
    (tmp_path / "file").write_text("")
    cache = DiskCache(tmp_path / place)
    assert cache.get(KEY) is None
    cache.put(KEY, Answer("a", False))
    assert cache.errors == 1


def test_a_locked_cache_costs_a_bounded_time_once(tmp_path):
    cache = DiskCache(tmp_path, timing=CacheTiming(lock_s=0.2, rest_s=3600.0))
    restless = DiskCache(tmp_path, timing=CacheTiming(lock_s=0.01, rest_s=0.01))
    cache.put(KEY, Answer("a", False))
    other = sqlite3.connect(tmp_path / "cache.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    started = time.monotonic()
    cache.put(KEY, Answer("b", False))
    for _ in range(20):
        assert cache.get(KEY) is None
    assert time.monotonic() - started > 0.3
    assert cache.errors == 3
    for _ in range(3):
        assert restless.get(KEY) is None
    other.execute("ROLLBACK")
    assert cache.get(KEY) is None, "it rests"
    while restless.get(KEY) is None:
        assert time.monotonic() - started < HANG_S
        time.sleep(0.005)
    restless.put(KEY, Answer("b", False))
    assert restless.get(KEY) == Answer("b", False)


class Touch:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_pickles_are_not_loaded(tmp_path):
    cache = DiskCache(tmp_path / "cache")
    hostile = pickle.dumps(Touch(tmp_path / "touched"))
    cache.put(KEY, Answer("a", False))
    with sqlite3.connect(tmp_path / "cache/cache.db") as database:
        database.execute("UPDATE Cache SET mode = 4, value = ?", (hostile,))
    assert cache.get(KEY) is None
    with sqlite3.connect(tmp_path / "cache/cache.db") as database:
        database.execute("UPDATE Cache SET mode = 3, value = NULL, filename = '/etc/passwd'")
    assert cache.get(KEY) is None
    assert cache.errors == 2
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("kept", ["[]", '{"text": 3, "truncated": false}', '{"text": "a"}', "not JSON", "null"])
def test_entries_that_are_no_answers(tmp_path, kept):
    cache = DiskCache(tmp_path)
    cache.put(KEY, Answer("a", False))
    with sqlite3.connect(tmp_path / "cache.db") as database:
        database.execute("UPDATE Cache SET value = ?", (kept,))
    assert cache.get(KEY) is None
    assert cache.errors == 1


WRITER = """
import sys, time
from pathlib import Path
from trl_mle.language_models.backends import Answer
from trl_mle.language_models.cache import CacheTiming, DiskCache
cache = DiskCache(Path(sys.argv[1]), timing=CacheTiming(lock_s=120.0))
for number in range(100):
    time.sleep(0.005)
    cache.put(f"{sys.argv[2]}-{number}", Answer(str(number), False))
    assert cache.get(f"{sys.argv[2]}-{number}") == Answer(str(number), False)
sys.exit(cache.errors)
"""


def test_two_processes_share_it(tmp_path):
    processes = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), name]) for name in "ab"]
    assert [process.wait(timeout=240) for process in processes] == [0, 0]
    cache = DiskCache(tmp_path)
    assert all(cache.get(f"{name}-{number}") == Answer(str(number), False) for name in "ab" for number in range(100))


def test_the_package_and_the_folder_are_named(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / "trl_mle/instrumentation"
    monkeypatch.setitem(sys.modules, "diskcache", None)
    with pytest.raises(UserError, match=r"trl_mle\[llm\]"):
        DiskCache(tmp_path)
