"""Packages without an `__init__.py`, of which each file is allowed by itself: others may have files in the same folder."""

from __future__ import annotations

import asyncio
import os
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.support.hang import HANG_S
from tests.support.local_sandbox import FALL_BACK, make_task
from trl_mle.config import SandboxConfig
from trl_mle.sandboxes import LocalSandbox

FILES, LONG = 600, "x" * 150
"""The CUDA libraries that torch requires have some thousand headers. Their paths are more than the kernel takes in one message."""


def make_interpreter(folder: Path, files: int) -> str:
    """An environment with the distribution `large`, a namespace package with the modules `part0xxx...`, `part1xxx...`."""
    packages = folder / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    (packages / "large").mkdir(parents=True)
    (packages / "large-1.0.dist-info").mkdir()
    (packages / "large-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: large\nVersion: 1.0\n")
    names = [f"large/part{number}{LONG}.py" for number in range(files)]
    for name in names:
        (packages / name).touch()
    (packages / "large-1.0.dist-info" / "RECORD").write_text("".join(f"{name},,\n" for name in names))
    (folder / "pyvenv.cfg").write_text(f"home = {sys.base_prefix}/bin\n")
    (folder / "bin").mkdir()
    os.symlink(os.path.realpath(sys.executable), folder / "bin" / "python")
    return str(folder / "bin" / "python")


@pytest.mark.parametrize("without", [(), pytest.param(FALL_BACK, marks=pytest.mark.slow)], ids=["layers", "fall_back"])
async def test_a_package_of_many_files_can_be_allowed(tmp_path, without):
    python = make_interpreter(tmp_path / "environment", FILES)
    task = make_task(tmp_path / "task", packages=("large",))
    sandbox = LocalSandbox(SandboxConfig(workers=1, preload=()), python=python)
    sandbox._without = without
    async with asyncio.timeout(4 * HANG_S), sandbox:
        execution = await sandbox.run(f"import large.part{FILES - 1}{LONG}\nprint('imported')", task)
    assert (execution.stdout, execution.stderr) == ("imported\n", "")
