"""`RaySandbox` on clusters of this machine: nodes and actors are killed, and every program still ends as exactly one thing."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("ray")

import ray

from tests.support.hang import HANG_S
from tests.support.local_sandbox import files_of_programs
from tests.support.ray_cluster import GIB, account, add_node, ledger, local_cluster, run_all, until
from tests.support.tasks import toy_task
from trl_mle import Limits, PoolConfig, RayConfig, RaySandbox, SandboxPool
from trl_mle.errors import ConfigError, SandboxError, SandboxUnavailableError, UserError
from trl_mle.sandboxes import public_files
from trl_mle.sandboxes.ray_cluster import archive_stream
from trl_mle.sandboxes.ray_cluster import cluster as ray_cluster
from trl_mle.sandboxes.ray_cluster.node_handle import NodeHandle
from trl_mle.sandboxes.ray_cluster.sandbox import _pack

COLD: dict = {"preload": ()}
WAIT = "import time\nopen('begun', 'w').close()\nprint('waiting', flush=True)\ntime.sleep(600)"
SECRET = b"the-answers-of-this-task"


@pytest.fixture(scope="module")
def here():
    """A cluster with two nodes of two CPUs."""
    with local_cluster(2, 2) as (cluster, nodes):
        yield cluster, nodes


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    task = toy_task(tmp_path_factory.mktemp("task"))
    (task.folder / "private" / "secret.txt").write_bytes(SECRET)
    return task


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox(here):
    """One sandbox for the tests that leave it as it was."""
    async with RaySandbox(address=here[0].address, **COLD) as sandbox:
        yield sandbox


@pytest_asyncio.fixture(loop_scope="module")
async def pool(sandbox):
    """A pool around it, which does not close it."""
    return SandboxPool(sandbox, PoolConfig(progress="off"))


in_module = pytest.mark.asyncio(loop_scope="module")


async def until_begun(sandbox, number):
    """Wait until so many programs have begun to `WAIT`."""
    hosts = [node.report.pid for node in sandbox._nodes.values()]
    await until(lambda: sum(files_of_programs(host).count("begun") for host in hosts) >= number)


# --- programs


@in_module
async def test_a_program_finds_its_task_and_nothing_else(sandbox, task):
    code = (
        "import os\n"
        "print(open('input/train.csv').readline().strip())\n"
        "try: open('input/new', 'w')\nexcept OSError: print('read-only')\n"
        "print(sorted(os.listdir('input')))\n"
        f"print(os.path.exists({str(task.folder)!r}))\n"
        "open('submission.csv', 'w').write('id,y\\n1,2\\n')"
    )
    execution = await sandbox.run(code, task)
    assert execution.status == "ok", execution
    header, *rest = execution.stdout.splitlines()
    assert header == "id,a,b,y"
    assert rest == ["read-only", "['sample_submission.csv', 'test.csv', 'train.csv']", "False"]
    assert execution.submission == b"id,y\n1,2\n"
    assert [node.state for node in sandbox.nodes] == ["ready"] * 2
    assert sandbox.workers == 4
    assert all(0.1 < node.speed < 10 and node.layers for node in sandbox.nodes)
    assert sandbox.describe().count("2 workers") == 2


@in_module
async def test_only_public_files_travel_and_once_to_a_node(sandbox, here, tmp_path, monkeypatch):
    task = toy_task(tmp_path)
    (task.folder / "private" / "secret.txt").write_bytes(SECRET)
    put, prepared, sent = [], Counter(), []
    real_put, real_prepare, real_run = ray.put, NodeHandle._prepare, NodeHandle.run

    async def prepare(self, actor, key, pieces):
        prepared[self.node.node_id] += 1
        await real_prepare(self, actor, key, pieces)

    async def run(self, *arguments):
        sent.append(ray.cloudpickle.dumps(arguments))
        return await real_run(self, *arguments)

    monkeypatch.setattr(ray, "put", lambda value: put.append(value) or real_put(value))
    monkeypatch.setattr(NodeHandle, "_prepare", prepare)
    monkeypatch.setattr(NodeHandle, "run", run)
    results = await asyncio.gather(*(sandbox.run(f"print({n})", task) for n in range(20)))
    assert [result.stdout for result in results] == [f"{n}\n" for n in range(20)]
    assert prepared == {node.node_id: 1 for node in sandbox.nodes}
    assert len(put) == 1
    answers = (task.folder / "private" / "answers.csv").read_bytes()
    for travelled in (*put, *sent):
        assert SECRET not in travelled
        assert answers[:200] not in travelled
        assert str(task.folder).encode() not in travelled
    assert len(sent) == 20


@in_module
async def test_durations_are_those_of_the_program_alone(sandbox, task):
    codes = ["import time\ntime.sleep(0.4)"] * 12  # three rounds: most of them wait
    results = await asyncio.gather(*(sandbox.run(code, task) for code in codes))
    assert all(0.39 < result.wall_s < 20 for result in results)
    assert all(result.cpu_s < 0.3 for result in results)
    stopped = await sandbox.run(WAIT, task, Limits(wall_s=3))
    assert (stopped.status, stopped.stdout) == ("timeout", "waiting\n")


@in_module
async def test_a_program_that_eats_memory_costs_itself(sandbox, task):
    before = [node.starts for node in sandbox.nodes]
    eater = "blocks = []\nwhile True: blocks.append(bytearray(16 * 2**20))"
    results = await asyncio.gather(
        *(sandbox.run(eater, task, Limits(wall_s=240, memory_bytes=300 * 2**20)) for _ in range(2)),
        sandbox.run("print(1)", task),
    )
    assert [result.status for result in results] == ["memory", "memory", "ok"]
    assert [node.starts for node in sandbox.nodes] == before


@in_module
async def test_cancelled_programs_are_gone(sandbox, task):
    runs = [asyncio.create_task(sandbox.run(WAIT, task)) for _ in range(6)]
    await until_begun(sandbox, 4)
    for run in runs:
        run.cancel()
    async with asyncio.timeout(HANG_S):
        results = await asyncio.gather(*runs, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results)
    assert [node.busy for node in sandbox.nodes] == [0, 0]
    assert (await sandbox.run("print(1)", task)).stdout == "1\n"


@in_module
async def test_what_a_task_lacks_is_named_and_nothing_is_lost_by_it(sandbox, task, tmp_path):
    spec = replace(task, folder=tmp_path / "gone")
    with pytest.raises(
        SandboxUnavailableError, match=r"Task 'toy' cannot run: the folder of public files .* not exist"
    ):
        await sandbox.run("print(1)", spec)
    with pytest.raises(SandboxUnavailableError, match="'no-such-package' is not installed"):
        await sandbox.run("print(1)", replace(task, packages=("no-such-package",)))
    with pytest.raises(ConfigError, match=r"`limits\.wall_s`"):
        await sandbox.run("print(1)", task, Limits(wall_s=-1))
    assert (await sandbox.run("print(1)", task)).stdout == "1\n"
    with pytest.raises(SandboxUnavailableError, match="running already"):
        await sandbox.__aenter__()


# --- deaths


@in_module
async def test_a_killed_actor_costs_its_programs_and_is_started_again(sandbox, pool, task):
    (victim, other) = sandbox._nodes.values()
    runs = [asyncio.create_task(pool.run(WAIT, task, Limits(wall_s=600))) for _ in range(4)]
    await until_begun(sandbox, 4)
    process = psutil.Process(victim.report.pid)
    below = process.children(recursive=True)
    waiting = asyncio.create_task(pool.run("print('later')", task, Limits(wall_s=240)))
    process.kill()
    await until(lambda: sum(run.done() for run in runs) == 2)
    for run in runs:
        if run.done():
            assert isinstance(run.exception(), SandboxError)
            assert run.exception().may_have_started, "and so it was not run again"
            assert "was lost while it had the program" in str(run.exception())
    assert psutil.wait_procs(below, timeout=HANG_S)[1] == [], "nothing of it is left"
    await until(lambda: victim.state == "ready")
    assert victim.starts == 2
    assert (await waiting).stdout == "later\n"
    assert sandbox.take_metrics()["sandbox/nodes_lost"] >= 1
    for run in runs:
        run.cancel()
    await asyncio.gather(*runs, return_exceptions=True)
    results = await run_all(pool, task, 8)
    assert account(results) == {"ok": 8}
    assert other.starts == 1


@in_module
async def test_a_program_that_certainly_had_not_started_is_given_to_another_node(sandbox, pool, task, monkeypatch):
    real, lost = NodeHandle.prepare, []

    async def prepare(self, key, pieces):
        if not lost:
            lost.append(self)
            psutil.Process(self.report.pid).kill()
            self._prepared.clear()  # so that the files have to be sent
        await real(self, key, pieces)

    monkeypatch.setattr(NodeHandle, "prepare", prepare)
    assert (await pool.run("print(1)", task, Limits(wall_s=240))).stdout == "1\n"
    assert pool.counts.retried == 1
    assert sum(pool.counts.faults.values()) == 0
    await until(lambda: lost[0].state == "ready")


@in_module
async def test_a_node_whose_files_are_removed_gets_them_again(sandbox, pool, task):
    await sandbox.run("print(1)", task)
    for handle in sandbox._nodes.values():
        for folder in Path(handle.report.folder).glob("task-*/public"):
            folder.chmod(0o700)
            shutil.rmtree(folder)
    assert account(await run_all(pool, task, 8)) == {"ok": 8}
    assert 1 <= pool.counts.retried <= 4


@in_module
async def test_a_node_that_cannot_start_programs_any_more_gets_a_new_actor(sandbox, pool, task):
    victim = next(iter(sandbox._nodes.values()))
    starts, actor = victim.starts, psutil.Process(victim.report.pid)
    for process in actor.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    subprocess.run(["chmod", "-R", "u+rwx", victim.report.folder], check=False, capture_output=True)
    shutil.rmtree(victim.report.folder, ignore_errors=True)
    results = await run_all(pool, task, 24)
    assert account(results).total() == 24
    await until(lambda: victim.starts > starts and victim.state == "ready")
    assert account(await run_all(pool, task, 8)) == {"ok": 8}


@pytest.mark.slow
@in_module
async def test_a_node_joins_and_is_killed_while_programs_run(here, sandbox, pool, task, monkeypatch):
    cluster, _ = here
    sent = ledger(monkeypatch)
    node = add_node(cluster, 2)
    await until(lambda: sandbox.workers == 6)
    runs = asyncio.create_task(run_all(pool, task, 60, 0.05))
    await until(lambda: pool.counts.done >= 15)
    await asyncio.to_thread(cluster.remove_node, node, False)
    words = account(await runs)
    assert words["may_have_started"] <= 2, "as many as the lost node had workers"
    assert words["ok"] + words["may_have_started"] == 60
    assert (len(sent), max(sent.values())) == (60, 1), "none was run twice"
    assert sum(pool.counts.faults.values()) == words["may_have_started"]
    await until(lambda: len(sandbox.nodes) == 2)
    assert sandbox.workers == 4


# --- clusters that will not do


@in_module
async def test_a_cluster_without_room_is_named_with_what_it_has(sandbox):
    for changes, words in (
        ({"cpus_per_worker": 8}, "`cpus_per_worker`=8 CPUs"),
        ({"memory_per_worker": 1000 * GIB}, "1000.0 GiB within"),
        ({"share": 0.25}, "`share`=0.25 of a node"),
        ({}, "0 of 2 CPUs"),  # the other sandbox has them
    ):
        with pytest.raises(SandboxUnavailableError, match="has room for a program") as caught:
            await RaySandbox(**changes).__aenter__()
        assert words in str(caught.value)
    assert ray.is_initialized(), "the other sandbox needs the connection"


@pytest.mark.slow
@in_module
async def test_a_node_that_cannot_run_programs_is_named(sandbox, task, tmp_path, monkeypatch):
    for handle in sandbox._nodes.values():  # make room
        await handle.stop()
    (tmp_path / "only_here.py").write_text(
        "class NodeActor:\n    def __init__(self, config, version): ...\n    async def start(self): ...\n"
    )

    async def words_of(bad: RaySandbox) -> str:
        async with asyncio.timeout(4 * HANG_S):
            while True:  # Ray takes a moment to give the CPUs back
                with pytest.raises(SandboxUnavailableError) as caught:
                    await bad.__aenter__()
                if "has room" not in str(caught.value):
                    return str(caught.value)
                await asyncio.sleep(0.2)

    try:
        assert "no_such_module" in await words_of(RaySandbox(preload=("no_such_module",), start_s=200))
        with monkeypatch.context() as patch:
            patch.syspath_prepend(tmp_path)
            patch.setattr(
                "trl_mle.sandboxes.ray_cluster.node_handle.NodeActor", importlib.import_module("only_here").NodeActor
            )
            words = await words_of(RaySandbox(start_s=200, **COLD))
        assert "trl_mle cannot be imported there; install it on every node" in words
        assert words.count("\n") < 6, words
        refused = await words_of(RaySandbox(start_s=200, runtime_env={"env_vars": 1}, **COLD))
        assert "its process could not be started" in refused
        with pytest.raises(SandboxError, match="there has been no node for programs") as caught:
            sandbox.config = replace(sandbox.config, node_wait_s=0.1)
            await sandbox.run("print(1)", task)
        assert not caught.value.may_have_started
    finally:
        sandbox.config = replace(sandbox.config, node_wait_s=300)
        for handle in sandbox._nodes.values():
            handle.start()
        await until(lambda: sandbox.workers == 4)


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"workers": 0}, "`workers` is 0"), ({"cpus_per_worker": 0}, "`cpus_per_worker` is 0"), ({"share": 2}, "`share` is 2"),
     ({"address": "http://x"}, "'http://x'"), ({"isolation": "some"}, "'some'"), ({"start_s": -1}, "`start_s` is -1")],
)  # fmt: skip
def test_settings_that_cannot_work_are_named(changes, words):
    with pytest.raises(ConfigError, match=words):
        RaySandbox(**changes)
    with pytest.raises(ConfigError, match="`workers` were both given"):
        RaySandbox(RayConfig(), workers=2)


def test_the_pool_waits_for_a_node_as_long_as_the_settings_say(tmp_path):
    task = toy_task(tmp_path)
    assert RaySandbox(node_wait_s=1000.0).overhead_s(task, Limits()) > 1000.0
    with (task.public_dir / "large.bin").open("wb") as file:
        file.truncate(400 * 1024**2)
    public_files.size_of.cache_clear()
    assert RaySandbox(node_wait_s=1000.0).overhead_s(task, Limits()) > 1100.0


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"`ray` is not installed. Install it with `pip install 'trl_mle\[ray\]'`"):
        RaySandbox()


def test_importing_the_package_does_not_import_ray():
    script = "import sys, trl_mle, trl_mle.sandboxes, trl_mle.rewards\nprint('ray' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "False\n"
    )


def test_a_lost_connection_starts_no_cluster_of_this_machine(monkeypatch, tmp_path):
    """Ray's own functions do, silently, and programs would run on the machine that trains."""
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda *_, **__: pytest.fail("a new cluster"))
    with pytest.raises(SandboxError, match="not connected") as caught:
        ray_cluster.list_nodes(RayConfig())
    assert not caught.value.may_have_started
    with pytest.raises(SandboxError, match="not connected"):
        _pack(str(tmp_path))
    handle = NodeHandle(ray_cluster.ClusterNode("0" * 56, "host", 1, GIB, 1, GIB), 1, RayConfig(), lambda _: None)
    fault = asyncio.run(handle._start_once())
    assert "not connected" in fault.message and not fault.is_permanent
    handle._actor = object()
    handle._kill()


# --- placement


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 9), max_size=6), st.one_of(st.none(), st.integers(1, 40)))
def test_workers_are_spread_over_what_there_is(rooms, most):
    given_ = ray_cluster.assign_workers(rooms, most)
    assert all(0 <= given_[node] <= fits for node, fits in rooms.items())
    assert sum(given_.values()) == min(sum(rooms.values()), most if most is not None else 10**9)
    partly = [workers for node, workers in given_.items() if workers < rooms[node]]
    assert all(workers <= min(partly, default=99) + 1 for workers in partly), "evenly"


@pytest.mark.parametrize(
    ("machine", "settings", "expected"),
    [((8, 64, 8, 64), {}, (8, 8)), ((8, 64, 3, 64), {}, (8, 3)), ((8, 5, 8, 5), {}, (2, 2)),
     ((8, 64, 8, 64), {"share": 0.25}, (2, 2)), ((8, 64, 8, 64), {"workers_per_node": 3}, (3, 3)),
     ((8, 64, 8, 64), {"cpus_per_worker": 0.5, "memory_per_worker": 0}, (16, 16)), ((0, 64, 0, 64), {}, (0, 0))],
)  # fmt: skip
def test_a_node_takes_what_fits_by_cpu_and_memory(machine, settings, expected):
    cpus, memory, free_cpus, free_memory = machine
    node = ray_cluster.ClusterNode("n", "a", cpus, memory * GIB, free_cpus, free_memory * GIB)
    assert ray_cluster.capacity(node, RayConfig(**settings)) == expected


# --- files


@settings(max_examples=25, deadline=None)
@given(
    st.dictionaries(st.from_regex(r"[a-z]{1,3}(/[a-z]{1,2})?", fullmatch=True), st.binary(max_size=300), max_size=6)
)
def test_files_arrive_as_they_were_and_read_only(files):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(archive_stream, "PIECE_BYTES", 777)
        source, target = Path(folder, "source"), Path(folder, "target")
        source.mkdir()
        written = {}
        for name, content in files.items():
            path = source / name
            if any(parent.is_file() for parent in path.parents) or path.is_dir():
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            written[name] = content
        pieces: list[bytes] = []
        archive_stream.pack(str(source), pieces.append)
        assert all(len(piece) <= 777 for piece in pieces)
        archive_stream.unpack(pieces, str(target))
        found = {str(path.relative_to(target)): path for path in target.rglob("*") if path.is_file()}
        assert {name: path.read_bytes() for name, path in found.items()} == written
        assert not any(path.stat().st_mode & 0o222 for path in (target, *target.rglob("*")))
        for path in (target, *(path for path in target.rglob("*") if path.is_dir())):
            path.chmod(0o755)


def test_links_inside_work_and_links_outside_are_refused(tmp_path):
    source = tmp_path / "source"
    (source / "data").mkdir(parents=True)
    (source / "data" / "a.csv").write_text("a")
    (source / "data" / "run").write_text("b")
    (source / "data" / "run").chmod(0o755)
    (source / "link.csv").symlink_to(source / "data" / "a.csv")
    (source / "folder").symlink_to("data")
    os.link(source / "data" / "a.csv", source / "hard.csv")
    pieces: list[bytes] = []
    archive_stream.pack(str(source), pieces.append)
    target = tmp_path / "elsewhere" / "target"
    target.parent.mkdir()
    archive_stream.unpack(pieces, str(target))
    for name in ("link.csv", "folder/a.csv", "hard.csv"):
        assert (target / name).read_text() == "a"
    assert stat.S_IMODE((target / "data" / "run").stat().st_mode) == 0o555
    assert str(tmp_path).encode() not in b"".join(pieces)
    (source / "out.csv").symlink_to("/etc/hostname")
    with pytest.raises(SandboxUnavailableError, match="a link that leads out"):
        archive_stream.pack(str(source), pieces.append)
    (source / "out.csv").unlink()
    os.mkfifo(source / "pipe")
    with pytest.raises(SandboxUnavailableError, match="a pipe or a device"):
        archive_stream.pack(str(source), pieces.append)
