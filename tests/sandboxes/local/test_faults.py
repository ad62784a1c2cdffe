"""What the machine lacks is a fault of the infrastructure, costs one sample, and is over with the shortage."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import signal
import sys
import tempfile
from contextlib import suppress

import psutil
import pytest

from tests.support.hang import HANG_S
from tests.support.local_sandbox import FALL_BACK, left_over, until_file, worker_of
from trl_mle.config import SandboxConfig
from trl_mle.errors import SandboxError, SandboxUnavailableError
from trl_mle.sandboxes import LocalSandbox
from trl_mle.sandboxes.local.runner.protocol import WorkerSettings
from trl_mle.sandboxes.local.timing import LocalTiming
from trl_mle.sandboxes.local.worker_process import WorkerProcess, killed_execution
from trl_mle.types import Limits

PAUSE = "import signal\nopen('started', 'w').close()\nsignal.pause()"
both = pytest.mark.parametrize("without", [(), FALL_BACK], ids=["layers", "fall_back"])


def cold(without: tuple[str, ...], **settings) -> LocalSandbox:
    sandbox = LocalSandbox(SandboxConfig(workers=1, preload=()), **settings)
    sandbox._without = without
    return sandbox


def fork_server_of(sandbox: LocalSandbox) -> psutil.Process:
    return min(worker_of(sandbox).children(), key=lambda process: process.create_time())


async def fault_and_recovery(
    sandbox: LocalSandbox, task, process: psutil.Process, kind: int, short: int, may_have_started: bool | None = None
) -> str:
    """The fault while `process` has a limit, after which everything works again."""
    before = process.rlimit(kind)
    process.rlimit(kind, (short, before[1]))
    with pytest.raises(SandboxError) as caught:
        await sandbox.run("print(1)", task)
    assert not isinstance(caught.value, SandboxUnavailableError)  # worth another try
    if may_have_started is not None:
        assert caught.value.may_have_started is may_have_started
    with suppress(psutil.NoSuchProcess):
        process.rlimit(kind, before)
    assert (await sandbox.run("print(1)", task)).stdout == "1\n"
    assert left_over(sandbox) == []
    return str(caught.value)


@both
@pytest.mark.parametrize("which", ["worker", "fork_server"])
async def test_no_more_descriptors(task, without, which):
    async with asyncio.timeout(4 * HANG_S), cold(without) as sandbox:
        process = worker_of(sandbox) if which == "worker" else fork_server_of(sandbox)
        # A worker has two more, by which it hears of the end of its children.
        most = 10 if which == "worker" else 6
        # A fork server may end after the program's text has been sent, so that "it may have started" is the safe answer.
        started = False if which == "worker" else None
        words = await fault_and_recovery(
            sandbox, task, process, resource.RLIMIT_NOFILE, most, may_have_started=started
        )
    assert "Too many open files" in words or "has died" in words or "ended before the program started" in words


@both
async def test_no_more_space(task, without, tmp_path):
    async with asyncio.timeout(4 * HANG_S), cold(without, scratch_dir=tmp_path) as sandbox:
        words = await fault_and_recovery(sandbox, task, fork_server_of(sandbox), resource.RLIMIT_FSIZE, 0)
    assert "File too large" in words


@both
async def test_a_worker_that_lacks_space_for_a_task_has_not_taken_the_program(task, without):
    """It makes a folder of links to the task's packages before anyone reads the program: a new worker gets it."""
    async with asyncio.timeout(4 * HANG_S), cold(without) as sandbox:
        worker = worker_of(sandbox)
        worker.rlimit(resource.RLIMIT_FSIZE, (0, worker.rlimit(resource.RLIMIT_FSIZE)[1]))
        assert (await sandbox.run("print(1)", task)).stdout == "1\n"
        assert not worker.is_running()


async def test_a_host_without_descriptors_has_started_no_worker(tmp_path, monkeypatch):
    def refuse():
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    settings = WorkerSettings(str(tmp_path / "worker"), os.getpid(), (), (), in_memory=True)
    with pytest.raises(SandboxError, match=r"could not be started.*Too many open files"):
        await WorkerProcess.start(sys.executable, settings, LocalTiming())


@both
@pytest.mark.parametrize("which", ["worker", "fork_server"])
async def test_no_more_processes(task, without, which):
    if os.getuid() == 0:
        pytest.skip("the kernel does not bound the number of root's processes")
    async with asyncio.timeout(4 * HANG_S), cold(without) as sandbox:
        if which == "worker":  # the program goes to a new one, for it certainly has not started
            worker = worker_of(sandbox)
            worker.rlimit(resource.RLIMIT_NPROC, (0, worker.rlimit(resource.RLIMIT_NPROC)[1]))
            assert (await sandbox.run("print(1)", task)).stdout == "1\n"
            assert not worker.is_running()
            return
        process = fork_server_of(sandbox)
        words = await fault_and_recovery(sandbox, task, process, resource.RLIMIT_NPROC, 0, may_have_started=False)
    assert "Resource temporarily unavailable" in words


@both
@pytest.mark.parametrize("pid", ["worker", "fork_server"])
async def test_a_process_that_dies_while_idle_costs_nothing(task, without, pid):
    async with asyncio.timeout(4 * HANG_S), cold(without) as sandbox:
        process = worker_of(sandbox) if pid == "worker" else fork_server_of(sandbox)
        worker = worker_of(sandbox)
        process.kill()
        await asyncio.to_thread(psutil.wait_procs, [worker], HANG_S)
        assert (await sandbox.run("print(1)", task)).stdout == "1\n"


@both
async def test_what_a_program_leaves_ends_with_it_and_not_when_the_supervisor_looks(task, without):
    """Work after the program's end is not measured, so it must not depend on how busy the supervisor is."""
    code = "import os, signal\nif os.fork() == 0: os.setsid(); open('started', 'w').close()\nsignal.pause()"
    async with asyncio.timeout(60), cold(without) as sandbox:
        run = asyncio.create_task(sandbox.run(code, task))
        await until_file(sandbox, "started")
        fork_server = fork_server_of(sandbox)
        supervisor = next(process for process in worker_of(sandbox).children() if process != fork_server)
        (program,) = fork_server.children()
        (left,) = program.children()
        supervisor.suspend()
        program.kill()
        assert (await asyncio.to_thread(psutil.wait_procs, [program, left], 20))[1] == []
        supervisor.resume()
        assert (await run).status == "killed"


async def test_a_program_that_ends_the_fork_server_has_the_cpu_time_that_was_measured(task):
    async with asyncio.timeout(4 * HANG_S), cold(("namespaces", "signals")) as sandbox:
        run = asyncio.create_task(sandbox.run(PAUSE, task))
        await until_file(sandbox, "started")
        fork_server_of(sandbox).kill()
        execution = await run
        assert execution.status == "killed"
        assert execution.cpu_s < execution.wall_s


def test_a_program_that_ends_the_process_that_measures_gains_no_lighter_penalty():
    """With 0 s its penalty would weigh less under `duration_clock: cpu`."""
    assert killed_execution("gone", 3.0, Limits(wall_s=5)).cpu_s == 3.0
    assert killed_execution("gone", 9.0, Limits(wall_s=5)).cpu_s == 5.0
    assert killed_execution("gone", 3.0, Limits(wall_s=5), cpu_s=0.0).cpu_s == 0.0


@pytest.mark.slow  # init and the fork server get 10 and 15 s
@both
async def test_a_limit_stands_though_the_processes_do_not_end(task, without):
    """As if one of them waited for a disk that does not answer, so that the fork server cannot end them."""
    async with asyncio.timeout(60), cold(without) as sandbox:
        run = asyncio.create_task(sandbox.run(PAUSE, task, limits=Limits(wall_s=3.0)))
        await until_file(sandbox, "started")
        fork_server_of(sandbox).suspend()
        execution = await run
        assert execution.status == "timeout"
        assert (await sandbox.run("print(1)", task)).stdout == "1\n"
        assert left_over(sandbox) == []


@both
async def test_a_worker_that_hangs_is_given_up_and_replaced(task, without):
    async with asyncio.timeout(4 * HANG_S), cold(without, timing=LocalTiming(answer_s=0.5, stop_s=1.0)) as sandbox:
        worker = worker_of(sandbox)
        # Long enough that a loaded machine starts the program, and sees its file, before it is stopped.
        run = asyncio.create_task(sandbox.run(PAUSE, task, limits=Limits(wall_s=3.0)))
        await until_file(sandbox, "started")
        processes = [worker, *worker.children(recursive=True)]
        for process in processes:
            process.suspend()
        with pytest.raises(SandboxError, match="did not answer") as caught:
            await run
        assert caught.value.may_have_started
        assert (await asyncio.to_thread(psutil.wait_procs, processes, HANG_S))[1] == []
        assert (await sandbox.run("print(1)", task)).stdout == "1\n"


@both
async def test_a_late_request_to_stop_does_not_stop_the_next_program(task, without):
    async with cold(without) as sandbox:
        await sandbox.run("print(1)", task)
        os.kill(fork_server_of(sandbox).pid, signal.SIGTERM)
        await asyncio.sleep(0.05)
        execution = await sandbox.run("print(2)", task)
    assert (execution.status, execution.stdout) == ("ok", "2\n")


@both
async def test_a_fork_server_that_dies_with_a_program_may_have_started_it(task, without):
    async with asyncio.timeout(4 * HANG_S), cold(without) as sandbox:
        run = asyncio.create_task(sandbox.run(PAUSE, task))
        await until_file(sandbox, "started")
        fork_server_of(sandbox).kill()
        with pytest.raises(SandboxError) as caught:
            await run
        assert caught.value.may_have_started


async def test_what_waits_for_a_worker_when_the_sandbox_is_closed_has_not_started(task):
    sandbox = cold(())
    async with asyncio.timeout(4 * HANG_S):
        await sandbox.__aenter__()
        runs = [asyncio.create_task(sandbox.run(PAUSE, task)) for _ in range(3)]
        await until_file(sandbox, "started")
        await sandbox.__aexit__()
        errors = await asyncio.gather(*runs, return_exceptions=True)
    assert [error.may_have_started for error in errors] == [True, False, False]
