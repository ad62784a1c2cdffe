"""Folders of public files reach the program as they are, in every backend."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tests.sandboxes.test_backends_agree import OTHERS
from tests.support.local_sandbox import SECRET, make_task
from trl_mle import LocalSandbox, SandboxConfig
from trl_mle.types import Limits, TaskSpec

PROGRAM = """
import hashlib, json, os
found = {}
for here, folders, files in os.walk("input"):
    for name in files:
        path = os.path.join(here, name)
        found[os.path.relpath(path, "input")] = hashlib.sha256(open(path, "rb").read()).hexdigest()
print(json.dumps(found))
try:
    open("input/images/new.bin", "wb")
except OSError:
    print("read-only")
open("submission.csv", "w").write("id,y\\n")
"""


@pytest.fixture(scope="module")
def task(tmp_path_factory) -> TaskSpec:
    task = make_task(tmp_path_factory.mktemp("nested") / "task", packages=())
    images = task.public_dir / "images" / "by class"
    images.mkdir(parents=True)
    for number in range(30):
        (images / f"{number:02d} ü.png").write_bytes(bytes([number]) * (number * 50))
    (task.public_dir / "images" / "all.bin").write_bytes(bytes(range(256)) * 100)
    return task


async def check(sandbox, task: TaskSpec) -> None:
    execution = await sandbox.run(PROGRAM, task, Limits(wall_s=30.0, memory_bytes=1024**3))
    assert execution.status == "ok", execution.stderr
    found, read_only = execution.stdout.splitlines()
    assert read_only == "read-only"
    assert json.loads(found) == digests(task.public_dir)
    assert len(json.loads(found)) == 33
    assert SECRET not in execution.stdout


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


async def test_nested_files_locally(task):
    async with LocalSandbox(SandboxConfig(workers=1, preload=())) as sandbox:
        await check(sandbox, task)


@pytest.mark.slow
@pytest.mark.parametrize("backend", OTHERS)
async def test_nested_files_on_other_machines(task, backend):
    async with OTHERS[backend]() as sandbox:
        await check(sandbox, task)
