"""A Ray cluster of several nodes on this machine, for tests and benchmarks; and a ledger of what was sent."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from contextlib import contextmanager

import psutil
import pytest
import ray
from ray.cluster_utils import Cluster

from tests.support.hang import HANG_S
from trl_mle.errors import SandboxError
from trl_mle.sandboxes.pool.counts import fault_kind
from trl_mle.sandboxes.ray_cluster.node_handle import NodeHandle
from trl_mle.types import Execution, Limits

# A lost node is noticed within seconds; Ray's own settings take up to half a minute.
FAST = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 4}
GIB = 1024**3


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@contextmanager
def local_cluster(*cpus: int, client_port: int | None = None):
    """A head without CPUs and one node for each of `cpus`; yields the cluster and those nodes."""
    head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": 100 * 1024**2, "_system_config": FAST}
    if client_port is not None:
        head["ray_client_server_port"] = client_port
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        yield cluster, [add_node(cluster, number) for number in cpus]
    finally:
        ray.shutdown()
        cluster.shutdown()


def add_node(cluster: Cluster, cpus: int, memory: int = 64 * GIB):
    return cluster.add_node(num_cpus=cpus, memory=memory, object_store_memory=80 * 1024**2)


def program(number: int, seconds: float = 0.0) -> str:
    return f"import time\ntime.sleep({seconds})\nprint('program', {number})\n"


async def run_all(pool, task, number: int, seconds: float = 0.0) -> list[Execution | BaseException]:
    """Give so many programs to `pool` at once."""
    runs = (pool.run(program(n, seconds), task, Limits(wall_s=240), group=n % 16) for n in range(number))
    return await asyncio.gather(*runs, return_exceptions=True)


def account(results) -> Counter[str]:
    """What came of the programs of `run_all`, each of which must be one right result or one classified fault."""
    words: Counter[str] = Counter()
    for number, result in enumerate(results):
        if isinstance(result, Execution):
            assert (result.status, result.stdout) == ("ok", f"program {number}\n"), result
            words["ok"] += 1
        else:
            assert isinstance(result, SandboxError), repr(result)
            words[fault_kind(result)] += 1
    assert sum(words.values()) == len(results)
    return words


async def until(condition, seconds=2 * HANG_S):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


def on_nodes(word: str) -> list[psutil.Process]:
    """Processes of this machine with `word` in their command line."""
    found = []
    for process in psutil.process_iter():
        try:
            if word in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            pass
    return found


def ledger(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts how often each program was sent to a node."""
    sent: Counter[str] = Counter()
    real = NodeHandle.run

    async def run(self, call, key, code, *arguments):
        sent[code] += 1
        try:
            return await real(self, call, key, code, *arguments)
        except SandboxError as error:
            if not error.may_have_started:
                sent[code] -= 1
            raise

    monkeypatch.setattr(NodeHandle, "run", run)
    return sent
