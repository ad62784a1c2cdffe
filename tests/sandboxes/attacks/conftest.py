"""A task with answers, two sandboxes that are started amid temptations, and a look at what is left at the end."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandboxes.attacks.hostile import AS_USER, SECRET, Box, Control, processes, settles_at, traces
from tests.support.tasks import toy_task
from trl_mle import MLEReward, Task
from trl_mle.config import SandboxConfig
from trl_mle.sandboxes import LocalSandbox
from trl_mle.sandboxes.modes import MODES, Mode
from trl_mle.types import TaskSpec

OPEN = [mode for mode in MODES if not mode.refused]


def modes(default: tuple[str, ...]) -> list[object]:
    """Modes for a fixture: those named are in the default run, the others are slow. An ordinary user tries the named ones."""
    return [
        pytest.param(mode, id=mode.name, marks=() if mode.name in default else pytest.mark.slow)
        for mode in OPEN
        if mode.name in default or AS_USER not in os.environ
    ]


@pytest.fixture(scope="package")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where sandboxes keep their folders. Afterwards there must be no trace of any program on the machine."""
    folder = tmp_path_factory.mktemp("scratch")
    mounts = Path("/proc/self/mountinfo").read_text()
    # Not `scratch_dir=`: with it programs are kept on disk.
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    yield folder
    tempfile.tempdir = before
    assert traces(folder) == []
    assert Path("/proc/self/mountinfo").read_text() == mounts


@pytest.fixture(scope="package")
def task(tmp_path_factory: pytest.TempPathFactory) -> TaskSpec:
    """A task whose answers are one line that is found nowhere else."""
    folder = tmp_path_factory.mktemp("task") / "tiny"
    (folder / "public").mkdir(parents=True)
    (folder / "private").mkdir()
    (folder / "public" / "train.csv").write_text("id,a,y\n" + "".join(f"{n},{n % 7},{n % 2}\n" for n in range(60)))
    (folder / "public" / "test.csv").write_text("id,a\n" + "".join(f"{n},{n % 7}\n" for n in range(60, 90)))
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
    )


@pytest.fixture(scope="package")
def answers(task: TaskSpec) -> str:
    """Path of the answers on the host."""
    return str(task.folder / "private" / "answers.csv")


@pytest.fixture(scope="package")
def leaked(answers: str) -> Iterator[int]:
    """The answers where a careless host might have them: an inheritable descriptor, standard input, a variable."""
    descriptor, stdin = os.open(answers, os.O_RDONLY), os.dup(0)
    os.set_inheritable(descriptor, True)
    os.dup2(descriptor, 0)
    os.environ["ATTACK_ANSWERS"] = SECRET
    try:
        yield descriptor
    finally:
        del os.environ["ATTACK_ANSWERS"]
        os.dup2(stdin, 0)
        os.close(stdin)
        os.close(descriptor)


@pytest.fixture(scope="package")
def runner(scratch: Path) -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="package", params=modes(("layers", "fall_back")))
def box(request: pytest.FixtureRequest, runner: asyncio.Runner, scratch: Path, task: TaskSpec, leaked: int):
    """A sandbox without libraries, in each mode. In the end it is well: no program has done harm."""
    yield from _opened(_box(request.param, SandboxConfig(workers=1, preload=()), runner, scratch, task))


@pytest.fixture(scope="package", params=modes(("layers",)))
def warm(request: pytest.FixtureRequest, runner: asyncio.Runner, scratch: Path, task: TaskSpec, leaked: int):
    """A sandbox whose worker has imported numpy, pandas and scikit-learn, in each mode."""
    yield from _opened(_box(request.param, SandboxConfig(workers=1), runner, scratch, task))


def _box(mode: Mode, config: SandboxConfig, runner: asyncio.Runner, scratch: Path, task: TaskSpec) -> Box:
    sandbox = LocalSandbox(config, scratch_dir=scratch if mode.on_disk else None)
    sandbox._without = mode.without
    return Box(sandbox, runner, task, mode)


def _opened(box: Box) -> Iterator[Box]:
    box.runner.run(box.sandbox.__aenter__())
    try:
        yield box
        box.is_well()
    finally:
        box.runner.run(box.sandbox.__aexit__())


@pytest.fixture
def well(box: Box) -> Iterator[None]:
    """Whatever the program did, nothing of it runs afterwards, and the sandbox is well."""
    before = processes()
    yield
    assert settles_at(before)
    box.is_well()


@pytest.fixture(scope="package")
def control(tmp_path_factory: pytest.TempPathFactory, task: TaskSpec, leaked: int) -> Control:
    """Runs a hostile program unconfined."""
    return Control(tmp_path_factory.mktemp("control"), task.public_dir)


@pytest.fixture(scope="package")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Task:
    """A task that can be graded."""
    return toy_task(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="package")
def score(warm: Box, toy: Task):
    """From a program to its outcome, through the whole reward function."""
    reward = MLEReward(sandbox=warm.sandbox, tasks={toy.id: toy}, wall_s=60)
    return lambda code: warm.runner.run(reward.score(f"A plan.\n\n```python\n{code}\n```", toy))
