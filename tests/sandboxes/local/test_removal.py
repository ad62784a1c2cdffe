"""The removal of what programs leave on disk: it follows nothing, and a failure of it is counted and decides nothing."""

from __future__ import annotations

import io
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.support.local_sandbox import FALL_BACK, make_task, until
from trl_mle.config import SandboxConfig
from trl_mle.sandboxes import LocalSandbox
from trl_mle.sandboxes.local import worker_process
from trl_mle.sandboxes.local.runner.limits import removal, workdir
from trl_mle.sandboxes.local.timing import LocalTiming
from trl_mle.sandboxes.pool.pool import SandboxPool


def deep(folder: Path, depth: int, name: str) -> None:
    """Folders within each other, the innermost with a file, where no path leads."""
    descriptor = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=descriptor)
        inner = os.open(name, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    file = os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=descriptor)
    os.write(file, bytes(1 << 20))
    os.close(file)
    os.close(descriptor)


def test_what_lies_beyond_the_longest_path_counts(tmp_path):
    deep(tmp_path, 60, "d" * 100)
    size, entries = workdir.usage(str(tmp_path))
    assert size >= 1 << 20
    assert entries == 61


def test_deeper_folders_than_are_looked_at_pass_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(workdir, "_MOST_DEPTH", 50)
    deep(tmp_path, 51, "d")
    assert workdir.usage(str(tmp_path))[1] > workdir.MOST_ENTRIES
    removal.remove(str(tmp_path))
    assert not tmp_path.exists()


@pytest.mark.parametrize("mode", [0o000, 0o100, 0o200, 0o400, 0o500])
def test_what_lies_in_closed_folders_counts(tmp_path, mode):
    (tmp_path / "d/e").mkdir(parents=True)
    (tmp_path / "d/e/file").write_bytes(bytes(1 << 20))
    (tmp_path / "d").chmod(mode)
    assert workdir.usage(str(tmp_path))[0] >= 1 << 20
    removal.remove(str(tmp_path))
    assert not tmp_path.exists()


@pytest.mark.parametrize("inner", ["d", "d/e"])
def test_a_link_in_the_place_of_a_folder_is_not_followed(tmp_path, monkeypatch, inner):
    """As a process would put it there that is still alive while its folder is removed."""
    outside, work = tmp_path / "outside", tmp_path / "work"
    (outside / "e").mkdir(parents=True)
    (outside / "file").write_text("of the host")
    (work / "d/e").mkdir(parents=True)
    outside.chmod(0o751)
    read = removal._entries

    def read_and_replace(descriptor: int) -> list[tuple[str, bool]]:
        entries = read(descriptor)
        if not (work / inner).is_symlink() and (os.path.basename(inner), True) in entries:
            (work / inner).rename(tmp_path / "moved")
            (work / inner).symlink_to(outside)
        return entries

    monkeypatch.setattr(removal, "_entries", read_and_replace)
    with pytest.raises(OSError):
        removal.remove(str(work))
    assert (outside / "file").read_text() == "of the host"
    assert (outside / "e").is_dir()
    assert outside.stat().st_mode & 0o777 == 0o751
    monkeypatch.undo()
    removal.remove(str(work))  # the next try removes the link
    assert not work.exists()


def refuse(folder: str) -> None:
    raise OSError(16, "Device or resource busy", folder)


async def test_a_sweep_that_fails_is_counted(tmp_path, monkeypatch):
    """In the fork that sweeps, as `sweep` makes it."""
    (tmp_path / "run-1").mkdir()
    monkeypatch.setattr(removal, "remove", refuse)
    removal.sweep(str(tmp_path))
    await until(lambda: removal.failures(tmp_path) == 1)
    assert [name.startswith(removal.ASIDE) for name in sorted(os.listdir(tmp_path)) if "failed" not in name] == [True]
    os.wait()


async def test_a_sweep_that_runs_out_of_time_is_counted_and_says_so(tmp_path, monkeypatch, capfd):
    (tmp_path / "run-1").mkdir()
    monkeypatch.setattr(removal, "remove", lambda folder: signal.raise_signal(signal.SIGALRM))
    # As in a worker: pytest's own has another descriptor, which a sweep closes.
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.FileIO(2, "w", closefd=False), write_through=True))
    removal.sweep(str(tmp_path))
    await until(lambda: removal.failures(tmp_path) == 1)
    os.wait()
    assert f"the removal took more than {removal._REMOVAL_S} s" in capfd.readouterr().err


async def test_failed_removals_are_shown_and_cost_nothing(tmp_path, monkeypatch, caplog):
    """Neither the reply nor the end of the sandbox depends on them."""
    task = make_task(tmp_path / "task", packages=())
    sandbox = LocalSandbox(
        SandboxConfig(workers=1, preload=()), scratch_dir=tmp_path, timing=LocalTiming(stop_s=0.2, retry_s=0.05)
    )
    sandbox._without = FALL_BACK
    async with SandboxPool(sandbox) as pool:
        await pool.run("print(1)", task)
        assert pool.take_metrics()["sandbox/removals_failed"] == 0
        with open(sandbox._slots[0].worker.folder / removal._FAILURES, "ab") as file:
            file.write(b"!!")
        assert pool.take_metrics()["sandbox/removals_failed"] == 2
        assert pool.take_metrics()["sandbox/removals_failed"] == 0
        assert (pool.counts.removals_failed, "2 removals failed" in pool.counts.line()) == (2, True)
        monkeypatch.setattr(worker_process.removal, "remove", refuse)
        # The folder comes back after the worker has removed it, as one does in which somebody still writes.
        folder = sandbox._slots[0].worker.folder
        ended = sandbox._slots[0].worker.process.wait

        def wait(*seconds: float) -> int:
            code = ended(*seconds)
            folder.mkdir(exist_ok=True)
            return code

        monkeypatch.setattr(sandbox._slots[0].worker.process, "wait", wait)
    assert pool.take_metrics()["sandbox/removals_failed"] == 2  # the worker's folder, and that of all
    assert "could not be removed" in caplog.text
