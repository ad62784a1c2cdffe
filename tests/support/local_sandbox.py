"""A tiny task, and what the tests of `LocalSandbox` ask of its processes and folders."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from tests.support.hang import HANG_S
from trl_mle.sandboxes import LocalSandbox
from trl_mle.types import TaskSpec

SECRET = "the-answers-of-this-task"
FALL_BACK = ("namespaces",)


def make_task(folder: Path, packages: tuple[str, ...] = TaskSpec.packages) -> TaskSpec:
    (folder / "public").mkdir(parents=True)
    (folder / "private").mkdir()
    rows = [(number, (number * 7) % 11, (number * 5) % 13) for number in range(60)]
    train = "".join(f"{number},{a},{b},{int(a > b / 2)}\n" for number, a, b in rows)
    (folder / "public" / "train.csv").write_text("id,a,b,y\n" + train)
    (folder / "public" / "test.csv").write_text("id,a,b\n" + "".join(f"{n},{a},{b}\n" for n, a, b in rows))
    (folder / "private" / "answers.csv").write_text(SECRET)
    return TaskSpec(
        id="tiny",
        title="Tiny",
        description="",
        folder=folder,
        metric="accuracy",
        direction="maximize",
        id_column="id",
        prediction_columns=("y",),
        target_column="y",
        packages=packages,
    )


def worker_of(sandbox: LocalSandbox) -> psutil.Process:
    return psutil.Process(sandbox._slots[0].worker.process.pid)


def left_over(sandbox: LocalSandbox) -> list[object]:
    """Processes and folders of programs that have ended, after the moment that the process which replied takes to go."""
    folder = sandbox._slots[0].worker.folder
    fork_server = min(worker_of(sandbox).children(), key=lambda process: process.create_time())
    deadline = time.monotonic() + HANG_S
    while True:
        processes = worker_of(sandbox).children(recursive=True)
        left = [*(process for process in processes if process != fork_server), *folder.glob("run-*")]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.002)


async def until(condition: Callable[[], object]) -> None:
    """Wait for an event that another process, or another task, brings about."""
    async with asyncio.timeout(2 * HANG_S):
        while not condition():
            await asyncio.sleep(0.005)


def files_of_programs(host_pid: int) -> list[str]:
    """Names in the folders of the programs that run below a process, wherever those are kept."""
    found: set[tuple[int, int]] = set()
    names = []
    for process in psutil.Process(host_pid).children(recursive=True):
        folder = f"/proc/{process.pid}/cwd"
        with suppress(OSError):
            status = os.stat(folder)
            entries = os.listdir(folder)
            if "main.py" in entries and (status.st_dev, status.st_ino) not in found:
                found.add((status.st_dev, status.st_ino))
                names += entries
    return names


async def until_file(sandbox: LocalSandbox, name: str) -> None:
    """Wait until the running program has made the file `name`."""
    await until(lambda: name in files_of_programs(os.getpid()))
