"""A trial of a sandbox: a few programs that try what none may do, run as any other program is."""

from __future__ import annotations

import secrets
import socket
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from trl_mle.sandboxes.base import Sandbox
from trl_mle.types import Execution, Limits, TaskSpec

_SECRET = "the answers of the trial"
_RUNS = 5
_WALL_S, _MEMORY_BYTES = 1.0, 512 * 1024**2


@dataclass(frozen=True)
class Finding:
    """What one program of the trial showed."""

    name: str
    passed: bool
    words: str
    """What was tried and what came of it."""


async def try_out(sandbox: Sandbox) -> list[Finding]:
    """Run the trial in a sandbox that has started; a finding that did not pass is a hole.

    Raises:
        SandboxError: the sandbox failed.
    """
    with tempfile.TemporaryDirectory(prefix="trl-mle-trial-") as folder:
        task = _task(Path(folder))
        return [await trial(sandbox, task) for trial in (_answers, _network, _processes, _time, _memory, _speed)]


async def _answers(sandbox: Sandbox, task: TaskSpec) -> Finding:
    path = str(task.folder / "private" / "answers.csv")
    code = f"""
import os
for path in ({path!r}, "input/../private/answers.csv", "/proc/self/root" + {path!r}, "/proc/1/root" + {path!r}):
    try:
        print(open(path).read())
    except OSError as error:
        print(type(error).__name__)
print(open("input/train.csv").read())
"""
    execution = await sandbox.run(code, task)
    hidden = execution.status == "ok" and _SECRET not in execution.stdout and "a,b" in execution.stdout
    return Finding("answers", hidden, "cannot be read by four paths" if hidden else _told(execution))


async def _network(sandbox: Sandbox, task: TaskSpec) -> Finding:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(("127.0.0.1", 0))
        datagrams.settimeout(0.2)
        server.settimeout(0.2)
        code = f"""
import socket
for attempt in (lambda: socket.create_connection(("127.0.0.1", {server.getsockname()[1]}), 2),
                lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", {datagrams.getsockname()[1]}))):
    try:
        attempt()
        print("REACHED")
    except OSError:
        print("refused")
"""
        execution = await sandbox.run(code, task)
        arrived = _arrives(server.accept) or _arrives(lambda: datagrams.recv(1))
    closed = execution.stdout == "refused\nrefused\n" and not arrived
    return Finding("network", closed, "TCP and UDP to this machine are refused" if closed else _told(execution))


async def _processes(sandbox: Sandbox, task: TaskSpec) -> Finding:
    seconds = f"{secrets.randbelow(10**6) + 10**6}.{secrets.randbelow(10**6)}"
    code = f"""
import subprocess, time
null = subprocess.DEVNULL
left = subprocess.Popen(["sleep", "{seconds}"], stdin=null, stdout=null, stderr=null, start_new_session=True)
time.sleep(0.1)
print("running" if left.poll() is None else "ended")
"""
    execution = await sandbox.run(code, task)
    if execution.stdout != "running\n":
        return Finding("processes", False, _told(execution))
    found = _processes_with(seconds)
    return Finding(
        "processes", not found, f"still there: {found}" if found else "one left running ended with its program"
    )


def _processes_with(argument: str) -> list[str]:
    """Numbers of processes that were started with `argument`; none where there is no `/proc` to ask."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if argument in file.read_text(errors="replace"):
                found.append(file.parent.name)
    return found


async def _time(sandbox: Sandbox, task: TaskSpec) -> Finding:
    execution = await sandbox.run("while True: pass", task, Limits(wall_s=_WALL_S))
    kept = execution.status == "timeout" and execution.wall_s < _WALL_S + 1
    words = f"a limit of {_WALL_S:g} s ended an endless loop after {execution.wall_s:.2f} s"
    return Finding("time", kept, words if kept else _told(execution))


async def _memory(sandbox: Sandbox, task: TaskSpec) -> Finding:
    code = "x = []\nwhile len(x) < 100: x.append(b'1' * 20_000_000)"
    execution = await sandbox.run(code, task, Limits(memory_bytes=_MEMORY_BYTES))
    kept = execution.status == "memory"
    words = f"a limit of {_MEMORY_BYTES >> 20} MiB ended a program at {execution.max_rss_bytes >> 20} MiB"
    return Finding("memory", kept, words if kept else _told(execution))


async def _speed(sandbox: Sandbox, task: TaskSpec) -> Finding:
    seconds = []
    for _ in range(_RUNS):
        began = time.perf_counter()
        execution = await sandbox.run("print(1)", task)
        seconds.append(time.perf_counter() - began)
    words = (
        f"a program that prints one line takes {1000 * statistics.median(seconds):.0f} ms in all (median of {_RUNS})"
    )
    return Finding("speed", execution.stdout == "1\n", words)


def _arrives(receive: Callable[[], object]) -> bool:
    try:
        receive()
    except OSError:
        return False
    return True


def _told(execution: Execution) -> str:
    return f"status {execution.status}: {(execution.stdout + execution.stderr).strip()[-200:]!r}"


def _task(folder: Path) -> TaskSpec:
    for name, file, text in (("public", "train.csv", "a,b\n1,2\n"), ("private", "answers.csv", _SECRET)):
        (folder / name).mkdir()
        (folder / name / file).write_text(text, encoding="utf-8")
    return TaskSpec(
        id="trial",
        title="Trial of the sandbox",
        description="",
        folder=folder,
        metric="accuracy",
        direction="maximize",
        id_column="a",
        prediction_columns=("b",),
        target_column="b",
        time_limit_s=30.0,
        packages=(),
    )
