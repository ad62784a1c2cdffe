"""How much does Ray add, does every program have one result while a node is killed, and does the pool stay small?

    python benchmarks/ray_sandbox.py

- speed: `LocalSandbox` and `RaySandbox` (two nodes of one CPU on this machine) with two workers each run the same programs
  in turn, in an order that changes with every round; what counts is the ratio within a round.
- chaos: a cluster of three nodes runs 1,000 programs at once through a pool; one node is killed with SIGKILL after a
  quarter of them, and one joins after half. Every program must have one result of its own or one classified fault, and
  none may be sent to a node twice unless it certainly had not started.
- pool: three times 2,000 programs at once through a pool over `LocalSandbox`: the memory of this process after each wave,
  how long after its end a result was there, and how long it takes to cancel 2,000.

All nodes are processes of this machine: nothing here is about a network. Writes `docs/results/ray_sandbox.json`.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Hashable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import psutil
from checkout import ROOT
from sandbox import PROGRAMS, make_task, quartiles

from tests.support.ray_cluster import account, add_node, local_cluster, program, until
from trl_mle import Limits, LocalSandbox, PoolConfig, RayConfig, RaySandbox, SandboxConfig, SandboxPool
from trl_mle.errors import SandboxError
from trl_mle.sandboxes.base import Sandbox
from trl_mle.sandboxes.ray_cluster.node_handle import NodeHandle
from trl_mle.types import Execution, TaskSpec

WORKERS = 2
LEAST_RATIO = 0.85
"""So many of the programs per second of `LocalSandbox` should `RaySandbox` run with as many workers."""
MOST_GROWTH_BYTES = 16 * 1024**2
"""Growth of this process between the second and the last wave that is as good as none."""
MOST_CANCEL_S = 2.0
LIMITS = Limits(wall_s=120)
QUIET = PoolConfig(progress="off")


async def rate(sandbox: Any, code: str, task: TaskSpec, number: int) -> float:
    """Programs per second, so many at once."""
    began = time.perf_counter()
    results = await asyncio.gather(*(sandbox.run(code, task, LIMITS) for _ in range(number)))
    seconds = time.perf_counter() - began
    for result in results:
        if result.status != "ok" or not result.submission:
            raise RuntimeError(f"a program ended with {result.status!r}: {result.stderr}")
    return number / seconds


async def measure_speed(args: argparse.Namespace, address: str, task: TaskSpec) -> dict[str, Any]:
    """Rates of both sandboxes in each round, and their ratio."""
    order = random.Random(args.seed)
    rounds: list[dict[str, float]] = []
    async with (
        LocalSandbox(SandboxConfig(workers=WORKERS)) as local,
        RaySandbox(RayConfig(address=address, workers=WORKERS)) as ray_sandbox,
    ):
        if ray_sandbox.workers != WORKERS:
            raise RuntimeError(f"the cluster has {ray_sandbox.workers} workers")
        sandboxes = {"local": local, "ray": ray_sandbox}
        for number in range(args.rounds + 1):
            names = sorted(sandboxes)
            order.shuffle(names)
            found = {name: await rate(sandboxes[name], PROGRAMS["typical"], task, args.per_round) for name in names}
            if number:  # the first one warms up
                rounds.append(found)
                print(f"round {number}: " + ", ".join(f"{name} {found[name]:.1f}/s" for name in sorted(found)))
        speeds = [node.speed for node in ray_sandbox.nodes]
    ratios = [one["ray"] / one["local"] for one in rounds]
    return {
        "program": "typical",
        "workers": WORKERS,
        "per_round": args.per_round,
        "local_per_s": quartiles([one["local"] for one in rounds]),
        "ray_per_s": quartiles([one["ray"] for one in rounds]),
        "ratio": quartiles(ratios),
        "node_speeds": speeds,
        "rounds": rounds,
    }


async def measure_chaos(args: argparse.Namespace, cluster: Any, nodes: list[Any], task: TaskSpec) -> dict[str, Any]:
    """What came of the programs while a node was killed."""
    sent: dict[str, int] = {}
    real = NodeHandle.run

    async def run(self: NodeHandle, call: int, key: str, code: str, *arguments: Any) -> Any:
        sent[code] = sent.get(code, 0) + 1
        try:
            return await real(self, call, key, code, *arguments)
        except SandboxError as error:
            sent[code] -= not error.may_have_started
            raise

    codes = [f"import pandas\n{program(number, 0.02)}" for number in range(args.chaos)]
    with mock.patch.object(NodeHandle, "run", run):
        sandbox = RaySandbox(RayConfig(address=cluster.address))
        async with SandboxPool(sandbox, QUIET) as pool:
            began = time.perf_counter()
            runs = asyncio.gather(
                *(pool.run(code, task, LIMITS, group=number % 16) for number, code in enumerate(codes)),
                return_exceptions=True,
            )
            await until(lambda: pool.counts.done >= args.chaos // 4, 600)
            await asyncio.to_thread(cluster.remove_node, nodes[0], False)
            killed_s = time.perf_counter() - began
            await until(lambda: pool.counts.done >= args.chaos // 2, 600)
            add_node(cluster, 1)
            words = account(await runs)
            seconds = time.perf_counter() - began
            states = [node.state for node in sandbox.nodes]
            retried = pool.counts.retried
    return {
        "programs": args.chaos,
        "nodes": len(nodes),
        "results": dict(words),
        "sent_twice_although_they_may_have_started": sum(times > 1 for times in sent.values()),
        "retried": retried,
        "killed_after_s": killed_s,
        "seconds": seconds,
        "nodes_in_the_end": states,
    }


class Timed(Sandbox):
    """A sandbox around another one that knows when each program ended."""

    workers = 0

    def __init__(self, sandbox: Any):
        self.sandbox, self.workers = sandbox, sandbox.workers
        self.ended: dict[str, float] = {}

    async def __aenter__(self) -> Timed:
        await self.sandbox.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.sandbox.__aexit__(*exc_info)

    async def run(
        self,
        code: str,
        task: TaskSpec,
        limits: Limits | None = None,
        *,
        source: str | None = None,
        group: Hashable = None,
    ) -> Execution:
        try:
            return await self.sandbox.run(code, task, limits, source=source, group=group)
        finally:
            self.ended[code] = time.perf_counter()


async def measure_pool(args: argparse.Namespace, task: TaskSpec) -> dict[str, Any]:
    """Memory of this process after each wave, lags of results, and seconds of cancellation."""
    process = psutil.Process()
    samples, lags = [], []
    timed = Timed(LocalSandbox(SandboxConfig(workers=WORKERS, preload=())))
    async with SandboxPool(timed, QUIET) as pool:
        for wave in range(args.waves):

            async def one(number: int, wave: int = wave) -> None:
                code = f"print({number})  # {wave}"
                result = await pool.run(code, task, LIMITS, group=number % 40)
                lags.append(time.perf_counter() - timed.ended.pop(code))
                if result.stdout != f"{number}\n":
                    raise RuntimeError(f"program {number} printed {result.stdout!r}")

            began = time.perf_counter()
            await asyncio.gather(*(one(number) for number in range(args.submissions)))
            gc.collect()
            samples.append({"rss_bytes": process.memory_info().rss, "seconds": time.perf_counter() - began})
            print(f"wave {wave + 1}: {samples[-1]['rss_bytes'] / 1024**2:.1f} MiB, {samples[-1]['seconds']:.1f} s")
        slow = [
            asyncio.create_task(
                pool.run(f"import time\ntime.sleep(600)  # {number}", task, Limits(wall_s=900), group=number % 40)
            )
            for number in range(args.submissions)
        ]
        await until(lambda: pool.counts.running == WORKERS)
        await asyncio.sleep(1.0)
        began = time.perf_counter()
        for run in slow:
            run.cancel()
        await asyncio.wait(slow)
        cancel_s = time.perf_counter() - began
        left = pool.counts.running + pool.counts.queued
    return {
        "submissions": args.submissions,
        "places": WORKERS,
        "waves": samples,
        "growth_bytes": samples[-1]["rss_bytes"] - samples[min(1, len(samples) - 1)]["rss_bytes"],
        "result_after_s": {"median": statistics.median(lags), "p99": float(np.percentile(lags, 99)), "max": max(lags)},
        "cancel_s": cancel_s,
        "left_after_cancel": left,
    }


def judge(result: dict[str, Any]) -> list[dict[str, Any]]:
    """What was asked for, what was found, and whether that is enough."""
    found = []

    def add(name: str, value: float, asked: str, met: bool) -> None:
        found.append({"name": name, "value": value, "asked": asked, "met": met})

    if speed := result.get("speed"):
        ratio = speed["ratio"]["median"]
        add("programs/s of Ray over those of LocalSandbox", ratio, f">= {LEAST_RATIO:g}", ratio >= LEAST_RATIO)
    if chaos := result.get("chaos"):
        ended = sum(chaos["results"].values())
        add(
            "programs with one result or one classified fault",
            ended,
            f"= {chaos['programs']}",
            ended == chaos["programs"],
        )
        twice = chaos["sent_twice_although_they_may_have_started"]
        add("programs sent twice although they may have started", twice, "= 0", twice == 0)
    if pool := result.get("pool"):
        growth = pool["growth_bytes"] / 1024**2
        add(
            "MiB of growth between waves",
            growth,
            f"<= {MOST_GROWTH_BYTES / 1024**2:g}",
            growth * 1024**2 <= MOST_GROWTH_BYTES,
        )
        add("seconds to cancel all", pool["cancel_s"], f"<= {MOST_CANCEL_S:g}", pool["cancel_s"] <= MOST_CANCEL_S)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=["speed", "chaos", "pool"], default=["speed", "chaos", "pool"])
    parser.add_argument(
        "--rounds", type=int, default=15, help="rounds of speed that count; one more comes before them"
    )
    parser.add_argument("--per-round", type=int, default=40, help="programs of a round for each sandbox")
    parser.add_argument("--chaos", type=int, default=1000, help="programs while a node is killed")
    parser.add_argument("--submissions", type=int, default=2000, help="programs that are given to the pool at once")
    parser.add_argument("--waves", type=int, default=3, help="times that so many are given to the pool")
    parser.add_argument("--seed", type=int, default=0, help="of the order of the sandboxes")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/ray_sandbox.json")
    args = parser.parse_args()

    # Processes of the nodes import the same package.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    load = os.getloadavg()[0]
    result: dict[str, Any] = {
        "command": "python benchmarks/ray_sandbox.py " + " ".join(sys.argv[1:]),
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release().split('-')[0]}",
        "load_before": round(load, 2),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("trl_mle", "ray", "numpy", "pandas", "scikit-learn")},
        "seed": args.seed,
    }
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        task = make_task(Path(folder).resolve() / "task")
        if "speed" in args.parts:
            with local_cluster(1, 1) as (cluster, _):
                result["speed"] = asyncio.run(measure_speed(args, cluster.address, task))
        if "chaos" in args.parts:
            with local_cluster(1, 1, 1) as (cluster, nodes):
                result["chaos"] = asyncio.run(measure_chaos(args, cluster, nodes, task))
        if "pool" in args.parts:
            result["pool"] = asyncio.run(measure_pool(args, task))
    result["verdicts"] = judge(result)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    for one in result["verdicts"]:
        print(f"{'met    ' if one['met'] else 'NOT MET'}  {one['name']}: {one['value']:g} (asked: {one['asked']})")
    print(f"written to {args.out}")


if __name__ == "__main__":
    main()
