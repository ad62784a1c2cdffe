"""The self test of a sandbox: a few programs that try what no program may do, run like any other program."""

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

_SECRET = "the answers of the self test"
_RUNS = 5
_WALL_S, _MEMORY_BYTES = 1.0, 512 * 1024**2


@dataclass(frozen=True)
class SelfTestResult:
    """The result of one program of the self test."""

    name: str
    passed: bool
    message: str
    """What was tried and what happened."""


async def run_self_test(sandbox: Sandbox) -> list[SelfTestResult]:
    """Run the self test in a sandbox that has started. A result that did not pass is a hole in the sandbox.

    Raises:
        SandboxError: the sandbox failed.
    """
    with tempfile.TemporaryDirectory(prefix="trl-mle-self-test-") as folder:
        task = _task(Path(folder))
        checks = (_check_answers, _check_network, _check_processes, _check_time, _check_memory, _check_speed)
        return [await check(sandbox, task) for check in checks]


async def _check_answers(sandbox: Sandbox, task: TaskSpec) -> SelfTestResult:
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
    return SelfTestResult("answers", hidden, "cannot be read by four paths" if hidden else _describe(execution))


async def _check_network(sandbox: Sandbox, task: TaskSpec) -> SelfTestResult:
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
    return SelfTestResult(
        "network", closed, "TCP and UDP to this machine are refused" if closed else _describe(execution)
    )


async def _check_processes(sandbox: Sandbox, task: TaskSpec) -> SelfTestResult:
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
        return SelfTestResult("processes", False, _describe(execution))
    pids = _processes_with(seconds)
    message = f"still there: {pids}" if pids else "a process left running ended with its program"
    return SelfTestResult("processes", not pids, message)


def _processes_with(argument: str) -> list[str]:
    """Numbers of the processes that were started with `argument`; none on systems without `/proc`."""
    pids = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if argument in file.read_text(errors="replace"):
                pids.append(file.parent.name)
    return pids


async def _check_time(sandbox: Sandbox, task: TaskSpec) -> SelfTestResult:
    execution = await sandbox.run("while True: pass", task, Limits(wall_s=_WALL_S))
    enforced = execution.status == "timeout" and execution.wall_s < _WALL_S + 1
    message = f"a limit of {_WALL_S:g} s ended an endless loop after {execution.wall_s:.2f} s"
    return SelfTestResult("time", enforced, message if enforced else _describe(execution))


async def _check_memory(sandbox: Sandbox, task: TaskSpec) -> SelfTestResult:
    code = "x = []\nwhile len(x) < 100: x.append(b'1' * 20_000_000)"
    execution = await sandbox.run(code, task, Limits(memory_bytes=_MEMORY_BYTES))
    enforced = execution.status == "memory"
    message = f"a limit of {_MEMORY_BYTES >> 20} MiB ended a program at {execution.max_rss_bytes >> 20} MiB"
    return SelfTestResult("memory", enforced, message if enforced else _describe(execution))


async def _check_speed(sandbox: Sandbox, task: TaskSpec) -> SelfTestResult:
    seconds = []
    for _ in range(_RUNS):
        began = time.perf_counter()
        execution = await sandbox.run("print(1)", task)
        seconds.append(time.perf_counter() - began)
    message = (
        f"a program that prints one line takes {1000 * statistics.median(seconds):.0f} ms in all (median of {_RUNS})"
    )
    return SelfTestResult("speed", execution.stdout == "1\n", message)


def _arrives(receive: Callable[[], object]) -> bool:
    try:
        receive()
    except OSError:
        return False
    return True


def _describe(execution: Execution) -> str:
    return f"status {execution.status}: {(execution.stdout + execution.stderr).strip()[-200:]!r}"


def _task(folder: Path) -> TaskSpec:
    for name, file, text in (("public", "train.csv", "a,b\n1,2\n"), ("private", "answers.csv", _SECRET)):
        (folder / name).mkdir()
        (folder / name / file).write_text(text, encoding="utf-8")
    return TaskSpec(
        id="self-test",
        title="Self test of the sandbox",
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
