"""Other drivers, other clusters, and the end of a driver: each test has a cluster of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

pytest.importorskip("ray")

import ray

from tests.support.hang import HANG_S
from tests.support.ray_cluster import account, add_node, free_port, ledger, local_cluster, on_nodes, run_all, until
from tests.support.tasks import toy_task
from trl_mle import PoolConfig, RayConfig, RaySandbox, SandboxPool
from trl_mle.errors import SandboxUnavailableError

WAIT = "import time\nprint('waiting', flush=True)\ntime.sleep(600)"


async def test_a_wrong_address_is_named_soon():
    address = f"127.0.0.1:{free_port()}"
    for wrong in (address, f"ray://{address}"):
        began = time.monotonic()
        with pytest.raises(SandboxUnavailableError, match=f"{address}' cannot be reached.*ray start"):
            await RaySandbox(address=wrong).__aenter__()
        assert time.monotonic() - began < 2 * HANG_S
    assert not ray.is_initialized()


_DRIVER = """
import asyncio, sys
import signal
from pathlib import Path
from tests.support.tasks import toy_task
from trl_mle import LocalSandbox, PoolConfig, RaySandbox, SandboxPool

async def main():
    task = toy_task(Path(sys.argv[2]))
    sandbox = RaySandbox(address=sys.argv[1], preload=(), share=float(sys.argv[3]))
    async with SandboxPool(sandbox, PoolConfig(progress="off")) as pool:
        print("open", sandbox.workers, flush=True)
        if sys.argv[4] == "wait":
            await pool.run("import time\\ntime.sleep(1000)", task)
        results = await asyncio.gather(*(pool.run(f"print({n})", task) for n in range(20)))
        assert [result.stdout for result in results] == [f"{n}\\n" for n in range(20)]
        print("done", flush=True)

signal.signal(signal.SIGINT, signal.default_int_handler)  # the tests may run with SIGINT ignored
asyncio.run(main())
"""


def driver(address: str, folder: Path, share: float, what: str) -> subprocess.Popen[str]:
    folder.mkdir()
    command = [sys.executable, "-c", _DRIVER, address, str(folder), str(share), what]
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.Popen(
        command, cwd=root, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    )


@pytest.mark.slow
def test_two_drivers_share_a_cluster_and_one_is_interrupted(tmp_path):
    with local_cluster(4) as (cluster, _):
        waiting = driver(cluster.address, tmp_path / "a", 0.5, "wait")
        working = driver(cluster.address, tmp_path / "b", 0.5, "work")
        try:
            assert waiting.stdout.readline() == "open 2\n"
            assert working.stdout.readline() == "open 2\n"
            assert working.stdout.readline() == "done\n"
            assert working.wait(2 * HANG_S) == 0
            os.killpg(waiting.pid, signal.SIGINT)
            assert waiting.wait(2 * HANG_S) != 0
        finally:
            for process in (waiting, working):
                process.kill()
                process.wait()
                process.stdout.close()
        deadline = time.monotonic() + HANG_S
        while (left := on_nodes("ray::NodeActor")) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert left == [], "the interrupted one has left the cluster"


@pytest.mark.slow
async def test_through_the_client_port(tmp_path):
    task = toy_task(tmp_path)
    port = free_port()
    with local_cluster(1, 1, client_port=port) as (cluster, nodes):
        async with SandboxPool(
            RaySandbox(address=f"ray://127.0.0.1:{port}", preload=()), PoolConfig(progress="off")
        ) as pool:
            assert account(await run_all(pool, task, 20)) == {"ok": 20}
            run = asyncio.create_task(pool.run(WAIT, task))
            await until(lambda: sum(node.busy for node in pool.sandbox.nodes) >= 1)
            run.cancel()
            await asyncio.wait([run], timeout=HANG_S)
            assert run.cancelled()
            runs = asyncio.create_task(run_all(pool, task, 40, 0.1))
            await until(lambda: pool.counts.done >= 25)
            await asyncio.to_thread(cluster.remove_node, nodes[0], False)
            words = account(await runs)
            assert words["ok"] >= 38 and set(words) <= {"ok", "may_have_started"}


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_a_thousand_programs_on_three_nodes_while_one_is_killed_and_one_joins(tmp_path, monkeypatch):
    task = toy_task(tmp_path)
    sent = ledger(monkeypatch)
    with local_cluster(1, 1, 1) as (cluster, nodes):
        sandbox = RaySandbox(RayConfig(address=cluster.address, preload=()))
        async with SandboxPool(sandbox, PoolConfig(progress="off")) as pool:
            runs = asyncio.create_task(run_all(pool, task, 1000, 0.02))
            await until(lambda: pool.counts.done >= 250, 600)
            await asyncio.to_thread(cluster.remove_node, nodes[0], False)
            await until(lambda: pool.counts.done >= 500, 600)
            add_node(cluster, 1)
            words = account(await runs)
            await until(lambda: sum(node.state == "ready" for node in sandbox.nodes) == 3)
    assert words["may_have_started"] <= 1
    assert words["ok"] + words["may_have_started"] == 1000
    assert (len(sent), max(sent.values())) == (1000, 1), "none was run twice"


# Last: after a killed driver Ray's agents run on for a while, and a client server does not start beside them.
@pytest.mark.slow
@pytest.mark.parametrize("end", ["interrupted", "killed"])
def test_a_cluster_of_this_machine_ends_with_the_driver(tmp_path, end):
    folders = set(Path(tempfile.gettempdir()).glob("trl-mle-node-*"))
    process = driver("local", tmp_path / "a", 1.0, "wait")
    try:
        assert process.stdout.readline().startswith("open ")
        time.sleep(1.0)
        below = psutil.Process(process.pid).children(recursive=True)
        below = [one for one in below if "Agent" not in one.name()]  # Ray's own take their time to notice
        assert any("raylet" in one.name() for one in below)
        if end == "interrupted":
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.kill()
        assert process.wait(2 * HANG_S) != 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert psutil.wait_procs(below, timeout=2 * HANG_S)[1] == []
    deadline = time.monotonic() + HANG_S
    while set(Path(tempfile.gettempdir()).glob("trl-mle-node-*")) - folders and time.monotonic() < deadline:
        time.sleep(0.1)
    assert set(Path(tempfile.gettempdir()).glob("trl-mle-node-*")) <= folders, "what was on the disk is removed"
