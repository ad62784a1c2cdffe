"""Processes of the sandbox are killed and paused at random moments; each program still ends as exactly one thing."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil
import pytest

from tests.support.hang import HANG_S
from tests.support.launching import ROOT
from tests.support.local_sandbox import FALL_BACK, make_task, until
from trl_mle.config import SandboxConfig
from trl_mle.errors import SandboxError
from trl_mle.sandboxes import LocalSandbox
from trl_mle.types import Execution, Limits

WORKERS = 2
WHERE = "import os\nprint(*(os.readlink(f'/proc/self/ns/{name}') == here for name, here in {here!r}.items()))"
"""Says which namespaces the program shares with this process."""


@dataclass(frozen=True)
class Kind:
    """A kind of program, whose output starts with `mark`."""

    code: str
    status: str
    exit_code: int | None
    submits: bool = False
    wall_s: float = 30.0


_SUBMIT = "open('submission.csv', 'w').write('id,y\\n{mark},1\\n')\n"
KINDS = {
    "quick": Kind("print('{mark}')\n" + _SUBMIT, "ok", 0, submits=True),
    "error": Kind("import sys\nprint('{mark}')\nsys.exit(3)", "error", 3),
    "child": Kind("import subprocess\nprint('{mark}')\nsubprocess.run(['sleep', '0.15'])\n" + _SUBMIT, "ok", 0, True),
    "timeout": Kind("import time\nprint('{mark}')\nwhile True: time.sleep(0.05)", "timeout", None, wall_s=0.5),
}


@dataclass
class Chaos:
    """Hits a random process of the sandbox again and again, while it is entered.

    Args:
        seed (`int`): of the choice of processes and moments.
        pause_s (`float`, *optional*): stop the process for so many seconds; without it, kill the process.
        spared (`tuple[int, ...]`): processes that are left alone with all below them.
    """

    # Between two hits at least one program ends, however slow the machine is: a kill costs the start of a worker.

    seed: int
    pause_s: float | None = None
    spared: tuple[int, ...] = ()
    hits: list[float] = field(default_factory=list)
    """When a process was hit, in monotonic seconds."""
    seen: dict[int, psutil.Process] = field(default_factory=dict)
    executions: int = 0
    """Programs that have ended as anything but a fault."""

    async def __aenter__(self) -> Chaos:
        self.seen.update((process.pid, process) for process in self.processes())
        self._task = asyncio.create_task(self._rage())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    def processes(self) -> list[psutil.Process]:
        """All processes below this one that are not spared."""
        found = psutil.Process().children(recursive=True)
        spared = set(self.spared)
        for pid in self.spared:  # after the list above, which must not hold one that is not known here yet
            with suppress(psutil.NoSuchProcess):
                spared.update(process.pid for process in psutil.Process(pid).children(recursive=True))
        return [process for process in found if process.pid not in spared]

    async def _rage(self) -> None:
        moments = random.Random(self.seed)
        executions = -1
        while True:
            while self.executions == executions:
                await asyncio.sleep(0.01)
            executions = self.executions
            await asyncio.sleep(moments.uniform(0.0, 0.15))
            processes = self.processes()
            self.seen.update((process.pid, process) for process in processes)
            if not processes:
                continue
            victim = moments.choice(processes)
            with suppress(psutil.NoSuchProcess):
                if self.pause_s is None:
                    victim.kill()
                    self.hits.append(time.monotonic())
                else:
                    await self._pause(victim, self.pause_s)

    async def _pause(self, victim: psutil.Process, seconds: float) -> None:
        victim.suspend()
        self.hits.append(time.monotonic())
        try:
            await asyncio.sleep(seconds)
        finally:
            with suppress(psutil.NoSuchProcess):
                victim.resume()


@dataclass(frozen=True)
class Run:
    """One call of `run`: what was asked, when, and what came of it."""

    kind: Kind
    mark: str
    started: float
    ended: float
    result: Execution | BaseException


async def run_all(sandbox, task, chaos: Chaos, seed: int, number: int) -> list[Run]:
    """Give `number` programs of mixed kinds to `sandbox` at once."""
    order = random.Random(seed)
    kinds = [list(KINDS.values())[index % len(KINDS)] for index in range(number)]
    order.shuffle(kinds)

    async def one(kind: Kind) -> Run:
        mark = f"mark-{order.getrandbits(64):016x}"
        limits = Limits(wall_s=kind.wall_s)
        started = time.monotonic()
        (result,) = await asyncio.gather(
            sandbox.run(kind.code.format(mark=mark), task, limits), return_exceptions=True
        )
        chaos.executions += isinstance(result, Execution)
        return Run(kind, mark, started, time.monotonic(), result)

    return await asyncio.gather(*(one(kind) for kind in kinds))


def check(run: Run, kills: list[float]) -> str:
    """A word for what came of `run`, which must be right for its program."""
    result, kind = run.result, run.kind
    if isinstance(result, BaseException):
        assert isinstance(result, SandboxError), repr(result)
        return "fault"
    if result.status == "killed":  # from outside, for none of the programs kills itself
        assert result.exit_code in (-signal.SIGKILL, None), result
        assert any(run.started <= kill <= run.ended for kill in kills), result
        assert result.stdout in ("", f"{run.mark}\n")
        return "killed"
    assert (result.status, result.exit_code) == (kind.status, kind.exit_code), result
    # A loaded machine may stop a program before it has printed.
    assert result.stdout in (f"{run.mark}\n", *([""] if kind.status == "timeout" else [])), result
    assert result.submission == (f"id,y\n{run.mark},1\n".encode() if kind.submits else None)
    return "right"


async def check_nothing_is_left(sandbox: LocalSandbox, task, chaos: Chaos, scratch: Path) -> None:
    """Every place of the sandbox works, and what its earlier programs had is gone; `sandbox` is open and idle."""
    runs = [sandbox.run(f"import time\ntime.sleep(0.2)\nprint({number})", task) for number in range(WORKERS)]
    executions = await asyncio.gather(*runs)
    assert [(one.status, one.stdout) for one in executions] == [("ok", f"{number}\n") for number in range(WORKERS)]
    kept = {process.pid for process in chaos.processes()}
    assert len(kept) < 4 * WORKERS
    await gone([process for pid, process in chaos.seen.items() if pid not in kept])
    # Folders that are set aside are removed after the reply, and if that removal is killed, by a later one.
    await until(lambda: not [path for path in files_of_programs_in(scratch) if "/removing-" not in str(path)])


def files_of_programs_in(folder: Path) -> list[Path]:
    names = ("main.py", "submission.csv")
    # `os.walk` passes over a folder that is removed meanwhile; `Path.rglob` raises.
    return [Path(parent, name) for parent, _, files in os.walk(folder) for name in files if name in names]


async def gone(processes: list[psutil.Process]) -> None:
    """Wait for the end of `processes`, wherever in the tree they have gone."""
    assert (await asyncio.to_thread(psutil.wait_procs, processes, HANG_S))[1] == []


def shared_namespaces() -> str:
    """A program that says which namespaces it has in common with this process."""
    here = {name: os.readlink(f"/proc/self/ns/{name}") for name in ("user", "pid", "net", "ipc", "mnt")}
    return WHERE.replace("{here!r}", repr(here))


@pytest.mark.parametrize(
    ("number", "without"),
    [
        pytest.param(30, (), id="layers"),
        pytest.param(20, FALL_BACK, id="fall_back", marks=pytest.mark.slow),
        pytest.param(500, (), id="layers_long", marks=pytest.mark.slow),
        pytest.param(500, FALL_BACK, id="fall_back_long", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("seed", [0])
async def test_killed_processes_cost_at_most_the_programs_that_run(task, tmp_path, number, without, seed, monkeypatch):
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # not `scratch_dir`: programs' own files are in memory
    sandbox = LocalSandbox(SandboxConfig(workers=WORKERS, preload=()))
    sandbox._without = without
    async with asyncio.timeout(4 * HANG_S + number):  # nothing hangs
        async with sandbox:
            confined = (await sandbox.run(shared_namespaces(), task)).stdout
            assert confined
            async with Chaos(seed, spared=tuple(before)) as chaos:
                runs = await run_all(sandbox, task, chaos, seed, number)
            words = Counter(check(run, chaos.hits) for run in runs)
            assert sum(words.values()) == number
            assert words["right"] >= number // 10, words
            assert words["right"] < number and len(chaos.hits) >= number // 10, words
            await check_nothing_is_left(sandbox, task, chaos, tmp_path)
            # A worker that was started among the kills confines its programs as the first ones did.
            again = await asyncio.gather(*(sandbox.run(shared_namespaces(), task) for _ in range(2 * WORKERS)))
            assert {execution.stdout for execution in again} == {confined}
        await gone(list(chaos.seen.values()))
    assert {process.pid for process in psutil.Process().children(recursive=True)} <= before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("without", [(), FALL_BACK], ids=["layers", "fall_back"])
async def test_paused_processes_cost_time_alone(task, tmp_path, without):
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    sandbox = LocalSandbox(SandboxConfig(workers=WORKERS, preload=()), scratch_dir=tmp_path)
    sandbox._without = without
    async with asyncio.timeout(4 * HANG_S), sandbox:
        async with Chaos(1, pause_s=0.15, spared=tuple(before)) as chaos:
            runs = await run_all(sandbox, task, chaos, seed=1, number=16)
        assert Counter(check(run, []) for run in runs) == {"right": 16}
        assert len(chaos.hits) >= 5
        await check_nothing_is_left(sandbox, task, chaos, tmp_path)


_OTHER_HOST = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.support.local_sandbox import make_task
from trl_mle.config import SandboxConfig
from trl_mle.sandboxes import LocalSandbox

async def main():
    task = make_task(Path(sys.argv[2]))
    async with LocalSandbox(SandboxConfig(workers=2, preload=()), scratch_dir=sys.argv[3]) as sandbox:
        print("open", flush=True)
        number = 0
        while not Path(sys.argv[2], "enough").exists():
            runs = [sandbox.run(f"print({number + one})", task) for one in range(4)]
            for one, execution in enumerate(await asyncio.gather(*runs)):
                assert (execution.status, execution.stdout) == ("ok", f"{number + one}\\n"), execution
            number += 4
        print(number, flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("end", [pytest.param("by_itself", marks=pytest.mark.slow), "killed"])
async def test_a_sandbox_of_another_process_is_not_disturbed(task, tmp_path, end):
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    arguments = (str(ROOT), str(tmp_path / "task"), str(scratch))
    command = [sys.executable, "-c", _OTHER_HOST, *arguments]
    async with asyncio.timeout(4 * HANG_S):
        other = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        try:
            assert await other.stdout.readline() == b"open\n"
            theirs = psutil.Process(other.pid).children(recursive=True)
            async with LocalSandbox(SandboxConfig(workers=WORKERS, preload=()), scratch_dir=scratch) as sandbox:
                async with Chaos(2, spared=(other.pid, *before)) as chaos:
                    runs = await run_all(sandbox, task, chaos, seed=2, number=16)
                words = Counter(check(run, chaos.hits) for run in runs)
                assert sum(words.values()) == 16 and words["right"], words
                if end == "killed":
                    other.kill()
                    await gone(theirs)
                else:
                    (tmp_path / "task" / "enough").touch()
                    assert int(await other.stdout.readline()) >= 4  # all of its programs were right
                assert await other.wait() == (-signal.SIGKILL if end == "killed" else 0)
                await check_nothing_is_left(sandbox, task, replace(chaos, spared=tuple(before)), scratch)
        finally:
            if other.returncode is None:
                other.kill()
                await other.wait()
    assert list(scratch.iterdir()) == []


async def test_a_public_folder_on_the_scratch_disk_is_left_alone(tmp_path):
    task = make_task(tmp_path / "task")
    async with LocalSandbox(SandboxConfig(workers=1, preload=()), scratch_dir=tmp_path) as sandbox:
        before = {path: path.read_bytes() for path in task.public_dir.iterdir()}
        async with Chaos(3) as chaos:
            await run_all(sandbox, task, chaos, seed=3, number=8)
        assert chaos.hits
    assert {path: path.read_bytes() for path in task.public_dir.iterdir()} == before
    assert list(tmp_path.iterdir()) == [task.folder]


LAYERS = "import os\ntry: print(len(os.listdir('/proc')) > 0)\nexcept OSError as error: print(error)\n"


async def test_a_new_worker_confines_as_the_first_one_whatever_is_killed_at_its_start(task, tmp_path):
    before = {process.pid for process in psutil.Process().children()}

    def workers() -> list[psutil.Process]:
        return [process for process in psutil.Process().children() if process.pid not in before]

    found = set()
    async with (
        asyncio.timeout(4 * HANG_S),
        LocalSandbox(SandboxConfig(workers=1, preload=()), scratch_dir=tmp_path) as sandbox,
    ):
        confined = (await sandbox.run(LAYERS + shared_namespaces(), task)).stdout
        for _ in range(8):
            for process in workers():
                process.kill()
            await asyncio.sleep(0.05)
            run = asyncio.create_task(sandbox.run(LAYERS + shared_namespaces(), task))
            killed = False
            while not (run.done() or killed):
                await asyncio.sleep(0)
                with suppress(psutil.NoSuchProcess):
                    for process in [child for worker in workers() for child in worker.children()]:
                        process.kill()
                        killed = True
            with suppress(SandboxError):  # a refusal to start is right
                execution = await run
                if execution.status != "killed":
                    found.add(execution.stdout)
        found.add((await sandbox.run(LAYERS + shared_namespaces(), task)).stdout)
    assert found == {confined}
