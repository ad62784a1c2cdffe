"""Workers start, die, are replaced and end; a broken one costs its own sample."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import stat
import subprocess
import sys
import threading

import psutil
import pytest

from tests.support.hang import HANG_S
from tests.support.launching import ROOT
from tests.support.local_sandbox import (
    FALL_BACK,
    files_of_programs,
    left_over,
    make_task,
    until,
    until_file,
    worker_of,
)
from trl_mle.config import SandboxConfig
from trl_mle.errors import ConfigError, SandboxError, SandboxUnavailableError
from trl_mle.sandboxes import LocalSandbox
from trl_mle.sandboxes.local.runner.isolation.namespaces import own_process_bound
from trl_mle.sandboxes.local.timing import LocalTiming
from trl_mle.types import Limits, TaskSpec

UNSAFE = ("namespaces", "landlock")
COLD = SandboxConfig(workers=1, preload=())
PAUSE = "import os, signal\nopen('started', 'w').close()\nif os.fork() == 0: os.setsid()\nsignal.pause()"
both = pytest.mark.parametrize("without", [(), FALL_BACK], ids=["layers", "fall_back"])


def cold(without: tuple[str, ...] = (), workers: int = 1, **settings) -> LocalSandbox:
    sandbox = LocalSandbox(SandboxConfig(workers=workers, preload=(), **settings))
    sandbox._without = without
    return sandbox


@both
async def test_killed_worker_is_a_fault_and_is_replaced(task, without):
    async with cold(without) as sandbox:
        run = asyncio.create_task(sandbox.run(PAUSE, task))
        await until_file(sandbox, "started")
        worker = worker_of(sandbox)
        program = worker.children(recursive=True)
        assert program
        worker.kill()
        with pytest.raises(SandboxError, match="exit code -9") as caught:
            await run
        assert caught.value.may_have_started
        assert psutil.wait_procs(program, timeout=HANG_S)[1] == []
        assert (await sandbox.run("print(1)", task)).stdout == "1\n"
        assert left_over(sandbox) == []


@both
async def test_cancelled_run_leaves_nothing(task, without):
    async with cold(without) as sandbox:
        run = asyncio.create_task(sandbox.run(PAUSE, task))
        await until_file(sandbox, "started")
        processes = [worker_of(sandbox), *worker_of(sandbox).children(recursive=True)]
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert [process for process in processes if process.is_running()] == []
        assert list(sandbox._folder.iterdir()) == []
        assert (await sandbox.run("print(1)", task)).stdout == "1\n"


_HOST = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.support.local_sandbox import make_task
from tests.sandboxes.local.test_life import PAUSE, cold

async def main():
    async with cold(tuple(sys.argv[3:])) as sandbox:
        task = make_task(Path(sys.argv[2]))
        print(sandbox._folder, flush=True)
        await sandbox.run(PAUSE, task)

asyncio.run(main())
"""


@both
async def test_nothing_survives_a_killed_host(tmp_path, without):
    command = [sys.executable, "-c", _HOST, str(ROOT), str(tmp_path / "task"), *without]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as host:
        folder = await asyncio.to_thread(host.stdout.readline)
        await until(lambda: "started" in files_of_programs(host.pid))
        processes = psutil.Process(host.pid).children(recursive=True)
        assert len(processes) >= 3
        host.send_signal(signal.SIGKILL)
    assert psutil.wait_procs(processes, timeout=HANG_S)[1] == []
    assert not os.path.exists(folder.strip())


@pytest.mark.slow
async def test_a_slow_disk_keeps_nothing_of_a_killed_host(tmp_path):
    """Nobody else would remove what its programs have left, and each run would leave more."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    code = "for number in range(15_000): open(f'left-{number}', 'w').close()\n" + PAUSE
    host_code = _HOST.replace("cold(tuple(sys.argv[3:]))", "cold(scratch_dir=sys.argv[3])").replace(
        "PAUSE, task", "sys.argv[4], task"
    )
    command = [sys.executable, "-c", host_code, str(ROOT), str(tmp_path / "task"), str(scratch), code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as host:
        await asyncio.to_thread(host.stdout.readline)
        await until(lambda: "started" in files_of_programs(host.pid))
        (worker,) = psutil.Process(host.pid).children()
        (folder,) = scratch.rglob("run-*")
        before = len(os.listdir(folder))
        host.send_signal(signal.SIGKILL)
    await until(lambda: len(os.listdir(folder)) < before)
    worker.suspend()
    left = len(os.listdir(folder))
    await asyncio.sleep(11)
    worker.resume()
    assert left and psutil.wait_procs([worker], timeout=HANG_S)[1] == []
    assert list(scratch.iterdir()) == []


async def test_programs_run_at_the_same_time_up_to_the_number_of_workers(task):
    async with cold(workers=2) as sandbox:
        runs = [asyncio.create_task(sandbox.run(PAUSE, task)) for _ in range(3)]

        def running() -> int:
            return files_of_programs(os.getpid()).count("started")

        await until(lambda: running() == 2)
        assert sandbox._idle.empty()
        assert len([run for run in runs if not run.done()]) == 3
        runs[0].cancel()
        await asyncio.wait([runs[0]])
        await until(lambda: running() == 2)  # the third had to wait for a place
        for run in runs[1:]:
            run.cancel()
        await asyncio.wait(runs)


async def test_works_in_an_event_loop_of_another_thread(task):
    results = []

    async def main():
        async with cold() as sandbox:
            results.append(await sandbox.run("print(1)", task))

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    await asyncio.to_thread(thread.join)
    assert [execution.stdout for execution in results] == ["1\n"]


async def test_another_event_loop_is_refused(task):
    async with cold() as sandbox:
        with pytest.raises(SandboxUnavailableError, match="another event loop"):
            await asyncio.to_thread(asyncio.run, sandbox.run("print(1)", task))


async def test_not_started_or_ended_is_a_clear_error(task):
    sandbox = cold()
    for _ in range(2):
        with pytest.raises(SandboxUnavailableError, match="not running; use `async with"):
            await sandbox.run("print(1)", task)
        async with sandbox:
            folder = sandbox._folder
            with pytest.raises(SandboxUnavailableError, match="running already"):
                await sandbox.__aenter__()
        assert not folder.exists()


async def test_missing_isolation_of_the_answers_is_refused_and_says_what_to_do(tmp_path):
    sandbox = LocalSandbox(COLD, scratch_dir=tmp_path)
    sandbox._without = UNSAFE
    with pytest.raises(SandboxUnavailableError, match=r"private_root and landlock(?s:.*)sandbox_isolation: none"):
        await sandbox.__aenter__()
    assert list(tmp_path.iterdir()) == []


async def test_without_isolation_it_runs_with_one_warning(task, caplog):
    sandbox = cold(UNSAFE, isolation="none")
    with caplog.at_level(logging.WARNING):
        async with sandbox:
            assert (await sandbox.run("print(1)", task)).stdout == "1\n"
            await sandbox.run("print(1)", task)
    assert sum("landlock:" in record.getMessage() for record in caplog.records) == 1
    assert "landlock " in sandbox.describe()
    assert {layer.name: layer.active for layer in sandbox.layers}["landlock"] is False


@pytest.mark.parametrize("without", ["namespaces", "landlock", "seccomp", "private_root", "private_proc"])
async def test_one_missing_layer_is_named_and_the_answers_stay_hidden(task, without, caplog):
    async with cold((without,)) as sandbox:
        assert without in [layer.name for layer in sandbox.layers if not layer.active]
        path = str(task.folder / "private" / "answers.csv")
        execution = await sandbox.run(f"print(open({path!r}).read())", task)
    assert execution.status == "error"
    assert "Permission denied" in execution.stderr or "No such file" in execution.stderr
    assert f"lacks the layer {without}:" in caplog.text


async def test_layers_are_named_as_soon_as_they_are_known(task):
    sandbox = cold(FALL_BACK)
    assert sandbox.layers == ()
    async with sandbox:
        active = {layer.name: layer.active for layer in sandbox.layers}
    assert active["landlock"] and active["privileges"]
    assert not (active["namespaces"] or active["private_root"] or active["private_proc"])


def _script(path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


async def test_worker_that_cannot_start_says_why(tmp_path):
    python = _script(tmp_path / "python", "echo 'no such library' >&2; exit 3")
    with pytest.raises(SandboxError, match=r"exit code 3\. It wrote: no such library") as caught:
        await LocalSandbox(COLD, python=python).__aenter__()
    assert not caught.value.may_have_started
    with pytest.raises(SandboxError, match="does-not-exist"):
        await LocalSandbox(COLD, python=str(tmp_path / "does-not-exist")).__aenter__()


async def test_worker_that_hangs_at_its_start_is_given_up(tmp_path):
    python = _script(tmp_path / "python", "echo waiting >&2; exec sleep 1000")
    sandbox = LocalSandbox(COLD, python=python, timing=LocalTiming(startup_s=3.0, stop_s=0.1))
    with pytest.raises(SandboxError, match=r"not ready within 3 s\. It wrote: waiting"):
        await sandbox.__aenter__()


async def test_missing_module_to_preload_is_named():
    with pytest.raises(SandboxError, match="no_such_module"):
        await LocalSandbox(SandboxConfig(workers=1, preload=("no_such_module",))).__aenter__()


async def test_missing_package_is_named_and_the_worker_lives_on(task, tmp_path):
    other = make_task(tmp_path / "other", packages=("no-such-distribution",))
    async with cold() as sandbox:
        worker = sandbox._slots[0].worker
        with pytest.raises(SandboxUnavailableError, match="'no-such-distribution' is not installed"):
            await sandbox.run("print(1)", other)
        assert (await sandbox.run("print(1)", task)).status == "ok"
        assert sandbox._slots[0].worker is worker


async def test_missing_public_files_and_folder_are_named(task: TaskSpec, tmp_path):
    from dataclasses import replace

    async with cold() as sandbox:
        with pytest.raises(SandboxUnavailableError, match="public"):
            await sandbox.run("print(1)", replace(task, folder=tmp_path / "gone"))
    with pytest.raises(SandboxUnavailableError, match="`scratch_dir`"):
        await LocalSandbox(COLD, scratch_dir=tmp_path / "gone").__aenter__()


def test_settings_that_contradict_each_other_are_refused():
    with pytest.raises(ConfigError, match="`workers`=2"):
        LocalSandbox(COLD, workers=2)
    with pytest.raises(ConfigError, match="`isolation` is 'maybe'"):
        LocalSandbox(isolation="maybe")


@pytest.mark.parametrize(
    ("release", "own"),
    [("6.13.9", False), ("5.15.0-91-generic", False), ("6.14.0", True), ("7.0-rc1", True), ("?", False)],
)
def test_process_bound_is_set_only_where_it_is_not_the_machines(release, own):
    assert own_process_bound(release) is own


_IN_A_CONTAINER = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.support.local_sandbox import make_task
from tests.sandboxes.local.test_life import cold
from trl_mle.sandboxes.local.runner.isolation import kernel, seccomp

kernel.forbid_new_privileges()
seccomp.restrict(own_root=True, own_processes=True)  # no unshare, clone of namespaces, mount: as Docker's own profile

async def main():
    async with cold() as sandbox:
        print([layer.name for layer in sandbox.layers if not layer.active])
        task = make_task(Path(sys.argv[2]))
        answers = str(task.folder / "private" / "answers.csv")
        print((await sandbox.run(f"print(open({answers!r}).read())", task)).stderr.splitlines()[-1])
        print((await sandbox.run("print(open('input/train.csv').readline())", task)).stdout)

asyncio.run(main())
"""


def test_a_container_that_forbids_namespaces_keeps_the_other_layers(tmp_path):
    command = [sys.executable, "-c", _IN_A_CONTAINER, str(ROOT), str(tmp_path / "task")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=4 * HANG_S)
    missing, refused, read, *_ = done.stdout.splitlines()
    assert missing == "['private_root', 'namespaces', 'private_proc']"
    assert refused.startswith("PermissionError")
    assert read == "id,a,b,y"
    for layer in ("private_root", "namespaces", "private_proc"):
        assert f"the sandbox lacks the layer {layer}:" in done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [("wall_s", 0), ("wall_s", float("nan")), ("wall_s", 1e300), ("wall_s", "5"), ("work_bytes", 0), ("work_bytes", 2**70),
     ("file_bytes", -1), ("processes", -5), ("threads", 1.5)],
)  # fmt: skip
async def test_limits_that_would_be_none_are_refused(task, name, value):
    async with cold() as sandbox:
        with pytest.raises(ConfigError, match=f"`limits.{name}` is"):
            await sandbox.run("print(1)", task, Limits(**{name: value}))
