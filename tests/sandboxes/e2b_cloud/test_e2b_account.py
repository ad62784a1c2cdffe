"""Against the real E2B, with the account whose key is in `E2B_API_KEY`: `pytest -m e2b tests/sandboxes/e2b_cloud`.

It starts a handful of sandboxes for a few minutes. What `docs/e2b.md` says about the cloud is to be checked here first.
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace

import pytest

from tests.support.tasks import toy_task
from trl_mle import E2BSandbox, LocalSandbox, MLEReward
from trl_mle.errors import SandboxUnavailableError
from trl_mle.types import Limits

pytestmark = [
    pytest.mark.e2b,
    pytest.mark.skipif(not os.environ.get("E2B_API_KEY"), reason="E2B_API_KEY is not set"),
    pytest.mark.timeout(900),
]

LIMITS = Limits(wall_s=30, memory_bytes=300 * 1024**2)
PROGRAM = """
import pandas as pd
from sklearn.linear_model import LinearRegression
train, test = pd.read_csv("input/train.csv"), pd.read_csv("input/test.csv")
model = LinearRegression().fit(train[["a", "b"]], train["y"])
test.assign(y=model.predict(test[["a", "b"]]))[["id", "y"]].to_csv("submission.csv", index=False)
"""


@pytest.fixture
def task(tmp_path):
    return toy_task(tmp_path)


async def left(sandbox: E2BSandbox) -> int:
    """Sandboxes of this run that E2B still lists."""
    return await sandbox._vms._account.sweep({"trl_mle_run": sandbox._vms.run_id})


async def test_programs_of_all_kinds(task):
    async with E2BSandbox(max_sandboxes=2, session_s=600) as sandbox:
        good, timeout, memory, printing, daemon = await asyncio.gather(
            sandbox.run(PROGRAM, task, LIMITS),
            sandbox.run("print('before')\nwhile True: pass", task, replace(LIMITS, wall_s=2)),
            sandbox.run("x = []\nwhile True: x.append(b'1' * 10_000_000)", task, LIMITS),
            sandbox.run("while True: print('x' * 1000)", task, LIMITS),
            sandbox.run("import os\nif os.fork() == 0:\n    os.setsid()\n    while True: pass", task, LIMITS),
        )
        network = await sandbox.run(
            "import socket\ntry:\n    socket.create_connection(('1.1.1.1', 53), 3)\n    print('reached')\n"
            "except OSError:\n    print('refused')",
            task,
            LIMITS,
        )
        assert all(0.05 < factor < 20 for factor in sandbox.speed_factors.values())
        assert all(layer.active for layer in sandbox.layers), sandbox.describe()
    assert (good.status, task.grade(good.submission).valid) == ("ok", True)
    assert (timeout.status, timeout.stdout) == ("timeout", "before\n")
    assert 2 <= timeout.wall_s < 3
    assert memory.status == "memory"
    assert printing.status == "output"
    assert daemon.status == "ok"
    assert network.stdout == "refused\n"
    assert await left(sandbox) == 0


async def test_the_grade_is_the_one_of_this_machine(task):
    async with LocalSandbox(workers=1) as sandbox:
        here = await sandbox.run(PROGRAM, task, LIMITS)
    async with E2BSandbox(max_sandboxes=1, session_s=600) as sandbox:
        there = await sandbox.run(PROGRAM, task, LIMITS)
    assert task.grade(there.submission).score == pytest.approx(task.grade(here.submission).score, rel=1e-6)


async def test_rewards(task):
    sandbox = E2BSandbox(max_sandboxes=2, session_s=600)
    reward = MLEReward(sandbox, tasks={"toy": task})
    completions = [f"```python\n{PROGRAM}```", "```python\n1 / 0\n```"]
    rewards = await reward([None] * 2, completions, task=["toy"] * 2)
    await sandbox.__aexit__()
    assert rewards[0] > 0.9
    assert rewards[1] < -9


async def test_cancelling_and_leaving_kill(task):
    sandbox = E2BSandbox(max_sandboxes=2, session_s=600)
    await sandbox.__aenter__()
    running = [asyncio.create_task(sandbox.run("while True: pass", task, LIMITS)) for _ in range(2)]
    await asyncio.sleep(20)
    running[0].cancel()
    began = time.monotonic()
    await sandbox.__aexit__()
    await asyncio.gather(*running, return_exceptions=True)
    assert time.monotonic() - began < 30
    assert await left(sandbox) == 0


async def test_a_wrong_key(task, monkeypatch):
    monkeypatch.setenv("E2B_API_KEY", "e2b_" + "0" * 40)
    async with E2BSandbox() as sandbox:
        with pytest.raises(SandboxUnavailableError, match="E2B_API_KEY"):
            await sandbox.run("print(1)", task, LIMITS)
