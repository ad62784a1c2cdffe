"""Files that travel between runs: what is collected fits into the next folder, under names that can be written there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.sandbox_doubles import Scripted, execution
from trl_mle import Limits, SandboxPool
from trl_mle.errors import ConfigError
from trl_mle.sandboxes.base import as_sandbox, check_limits
from trl_mle.sandboxes.kept_files import check_files
from trl_mle.sandboxes.local.runner.limits import kept_files
from trl_mle.sandboxes.local.runner.limits.workdir import SUBMISSION
from trl_mle.sandboxes.local.runner.processes.program import PROGRAM

WORK = 1 << 20
NAMES = st.lists(
    st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=80), min_size=1, max_size=20
).map("/".join)


def collected(
    folder: Path, keep_bytes: int = WORK, work_bytes: int = WORK, modules=()
) -> tuple[dict[str, bytes], int]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        return kept_files.collect(descriptor, keep_bytes, work_bytes, frozenset(modules))
    finally:
        os.close(descriptor)


def written(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir()
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        kept_files.write(descriptor, files)
    finally:
        os.close(descriptor)


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(NAMES, st.binary(max_size=200), max_size=6), st.integers(0, 500))
def test_what_is_kept_can_be_written_and_is_kept_again(tmp_path_factory, files, keep_bytes):
    """Whatever names a program writes: those that are kept pass the host's check and are the same files in the next run."""
    folder = tmp_path_factory.mktemp("files")
    for name, content in files.items():
        if {".", ".."}.isdisjoint(name.split("/")):
            path = os.fsencode(folder) + b"/" + name.encode()
            try:
                os.makedirs(os.path.dirname(path), exist_ok=True)
                Path(os.fsdecode(path)).write_bytes(content)
            except OSError:  # too long, or a folder and a file at once
                continue
    kept, _ = collected(folder, keep_bytes)
    assert sum(map(len, kept.values())) <= keep_bytes
    assert all(files[name] == content for name, content in kept.items())
    check_files(kept, Limits(work_bytes=WORK, keep_bytes=keep_bytes))
    written(folder / "next", kept)
    assert collected(folder / "next", keep_bytes) == (kept, 0)
    shutil.rmtree(folder)


@given(st.text(max_size=300) | NAMES)
def test_no_name_leads_out_of_the_folder(name):
    if kept_files.bad_name(name) is None:
        parts = name.split("/")
        assert not {"", ".", ".."} & set(parts) and parts[0].lower() not in kept_files.RESERVED
        assert name.isprintable() and len(os.fsencode(name)) <= 255 and len(parts) <= 16


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            "/etc/passwd",
            "../x",
            "a/../../x",
            "./x",
            "a//b",
            "a/",
            "a\nb",
            "\udcff",
            "a\0",
            "\u202etxt.exe",
            "x" * 256,
        ),
        *("a/" * 16 + "b", "main.py", "Main.PY", "input", "INPUT/x", "tmp/x", SUBMISSION, "\u017fubmission.csv"),
        "a/__pycache__/b.pyc",
    ],
)
def test_unsuitable_names_are_refused(name):
    with pytest.raises(ConfigError, match="the name"):
        check_files({name: b""}, Limits())


def test_the_names_of_the_sandbox_are_reserved():
    assert {PROGRAM, SUBMISSION, "input", "tmp"} == kept_files.RESERVED


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a": "text"}, "contents"),
        ({1: b""}, "contents"),
        ({"a": b"", "a/b": b""}, "lies in a folder that is a file"),
        ({"a": bytes(WORK // 2 + 1)}, f"at most 64 with {WORK // 2} bytes fit"),
        ({str(number): b"" for number in range(65)}, "65 files"),
    ],
)
def test_files_that_do_not_fit_are_refused(files, message):
    with pytest.raises(ConfigError, match=message):
        check_files(files, Limits(work_bytes=WORK))


@pytest.mark.parametrize("keep_bytes", [-1, 0.5, WORK // 2 + 1, "1", None])
def test_a_limit_that_cannot_hold_is_refused(keep_bytes):
    with pytest.raises(ConfigError, match="keep_bytes"):
        check_limits(Limits(work_bytes=WORK, keep_bytes=keep_bytes))
    check_limits(Limits(work_bytes=WORK, keep_bytes=WORK // 2))


SHADOWS = (
    *("numpy.py", "numpy/__init__.py", "json.pyc", "json.so", "os/__init__.py"),
    *("sitecustomize.py", "usercustomize.py", "main.so"),
)
HARMLESS = (
    *("numpy.csv", "numpy/data.csv", "numpy/core.py", "helper.py", "helper/__init__.py"),
    *("a/json.py", "json.txt", ".py", "json.py.txt"),
)


@pytest.mark.parametrize("name", (*SHADOWS, *HARMLESS))
def test_modules_that_stand_in_for_others_are_not_kept(name, tmp_path):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("print('instead')")
    kept, cut = collected(tmp_path, modules={"numpy"})
    assert (list(kept), cut) == (([name], 0) if name in HARMLESS else ([], 1))


def test_small_files_come_first_and_what_is_left_out_is_counted(tmp_path):
    for name, size in {"large": 600, "b": 10, "a": 10, "middle": 300, "empty": 0}.items():
        (tmp_path / name).write_bytes(bytes(size))
    assert [list(collected(tmp_path, most)[0]) for most in (0, 19, 20, 320, 1000)] == [
        ["empty"],
        ["empty", "a"],
        ["empty", "a", "b"],
        ["empty", "a", "b", "middle"],
        ["empty", "a", "b", "middle", "large"],
    ]
    assert collected(tmp_path, 320)[1] == 1


def test_too_many_entries_are_not_listed_to_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(kept_files, "MOST_ENTRIES", 50)
    for number in range(80):
        (tmp_path / str(number)).touch()
    assert collected(tmp_path) == ({}, 51)


def test_a_file_that_grows_while_it_is_read_is_cut(tmp_path, monkeypatch):
    """Between the listing and the read, and after its size was looked at."""
    (tmp_path / "a").write_bytes(b"12")
    listed = kept_files._list

    def list_then_grow(listing, folder, prefix):
        listed(listing, folder, prefix)
        (tmp_path / "a").write_bytes(bytes(1000))

    monkeypatch.setattr(kept_files, "_list", list_then_grow)
    assert collected(tmp_path, 100) == ({}, 1)


def test_a_folder_that_becomes_a_link_is_not_followed(tmp_path, monkeypatch):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "x").write_text("secret")
    work = tmp_path / "work"
    (work / "a").mkdir(parents=True)
    (work / "a" / "x").write_text("own")
    listed = kept_files._list

    def list_then_swap(listing, folder, prefix):
        listed(listing, folder, prefix)
        if not prefix:
            shutil.rmtree(work / "a")
            (work / "a").symlink_to(tmp_path / "outside")

    monkeypatch.setattr(kept_files, "_list", list_then_swap)
    assert collected(work) == ({}, 1)


def test_nothing_is_written_over_or_through_a_link(tmp_path):
    (tmp_path / "outside").mkdir()
    work = tmp_path / "work"
    work.mkdir()
    (work / "taken").write_text("before")
    (work / "link").symlink_to(tmp_path / "outside")
    descriptor = os.open(work, os.O_RDONLY)
    for name in ("taken", "link/x", "link", "taken/x"):
        with pytest.raises(OSError):
            kept_files.write(descriptor, {name: b"new"})
    os.close(descriptor)
    assert (work / "taken").read_text() == "before" and not list((tmp_path / "outside").iterdir())


class TakesNoFiles(Scripted):
    async def run(self, code, task, limits=None, *, source=None, group=None):
        return await super().run(code, task, limits, source=source, group=group)


async def test_a_sandbox_that_takes_no_files_runs_programs_without_files():
    sandbox = as_sandbox(TakesNoFiles(execution()))
    assert (await sandbox.run("", None, files={})).status == "ok"
    assert (await SandboxPool(TakesNoFiles(execution())).run("", None, Limits())).status == "ok"
    with pytest.raises(ConfigError, match=r"TakesNoFiles\.run takes no `files`"):
        await sandbox.run("", None, files={"a": b""})
