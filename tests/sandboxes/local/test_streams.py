"""Standard streams, hooks and the end of a program in the sandbox are those of `python main.py` whose output is a pipe.

Two things differ on purpose. Standard output is line-buffered, as on a terminal, so that a program that is killed keeps what
it has printed. An uncaught `KeyboardInterrupt` gives exit code 130, because a signal would mean an end from outside.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import pytest_asyncio
import yaml

from tests.support.cold_interpreter import cold, run
from trl_mle.config import SandboxConfig
from trl_mle.sandboxes import LocalSandbox

PROGRAMS = yaml.safe_load((Path(__file__).parents[2] / "data" / "streams.yaml").read_text(encoding="utf-8"))

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plain():
    """One worker without libraries: no program of the quick table imports any."""
    async with LocalSandbox(SandboxConfig(workers=1, preload=())) as sandbox:
        yield sandbox


@pytest.mark.parametrize("name", PROGRAMS["quick"])
async def test_a_program_and_its_streams(plain, task, tmp_path, name):
    assert await run(plain, PROGRAMS["quick"][name], task) == cold(PROGRAMS["quick"][name], task, tmp_path / "cold")


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS["more"])
async def test_more_programs(warm, task, tmp_path, name):
    assert await run(warm, PROGRAMS["more"][name], task) == cold(PROGRAMS["more"][name], task, tmp_path / "cold")


async def test_what_is_printed_before_a_kill_is_kept(plain, task):
    result = await run(plain, "import os, signal\nprint('kept')\nos.kill(os.getpid(), signal.SIGSEGV)", task)
    assert (result.exit_code, result.stdout) == (-11, "kept\n")


async def test_keyboard_interrupt_is_no_end_from_outside(plain, task):
    assert (await run(plain, "raise KeyboardInterrupt", task)).exit_code == 130
