"""`RaySandbox`: programs on the nodes of a Ray cluster."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import statistics
from collections.abc import Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from hashlib import sha256
from pathlib import Path
from typing import Any

from trl_mle.config import RayConfig
from trl_mle.errors import ConfigError, SandboxError, SandboxUnavailableError
from trl_mle.sandboxes.base import check_limits, default_limits
from trl_mle.sandboxes.kept_files import check_files
from trl_mle.sandboxes.public_files import size_of
from trl_mle.sandboxes.ray_cluster import archive_stream, cluster
from trl_mle.sandboxes.ray_cluster.cluster import ClusterNode
from trl_mle.sandboxes.ray_cluster.node_handle import NodeHandle, NodeState
from trl_mle.sandboxes.ray_cluster.slots import Slots
from trl_mle.sandboxes.ray_cluster.timing import RayTiming
from trl_mle.types import Execution, Limits, TaskSpec

_logger = logging.getLogger(__name__)


class RaySandbox:
    """Runs programs on the nodes of a Ray cluster, each in a [`LocalSandbox`] of the node; see [`Sandbox`] for how to use it.

    One actor per node reserves the CPUs and the memory of its workers. A program waits on this machine until a worker is free
    and is then sent to the node with the most free workers. The public files of a task are read once and sent once to each
    node through the object store. The answers never leave this machine. If a node is lost, each program that it ran ends in a
    `SandboxError` that says whether the program `may_have_started`. Nodes that join are used, and a lost actor is started
    again.

    Every node must have this package in the same version, and meet the requirements of [`LocalSandbox`].

    Args:
        config (`RayConfig`, *optional*):
            All of the settings. Give either this or the keywords.
        address (`str`, *optional*):
            `"host:port"`, `"auto"` or `"ray://host:port"`. If Ray is connected already, that cluster is used.
        workers (`int`, *optional*):
            Programs that run at the same time, on all nodes together. Defaults to what fits.
        timing ([`RayTiming`], *optional*):
            Durations that tests shorten.
        **settings:
            Other fields of `RayConfig`.

    Example:

    ```python
    async with RaySandbox(address="ray://head:10001") as sandbox:
        execution = await sandbox.run(code, task)
    ```
    """

    def __init__(
        self,
        config: RayConfig | None = None,
        *,
        address: str | None = None,
        workers: int | None = None,
        timing: RayTiming = RayTiming(),  # noqa: B008 - frozen
        **settings: Any,
    ):
        keywords = {"address": address, "workers": workers, **settings}
        if config is not None and any(value is not None for value in keywords.values()):
            names = ", ".join(f"`{name}`" for name, value in keywords.items() if value is not None)
            raise ConfigError(f"`config` and the keywords {names} were both given; put the values into `RayConfig`.")
        cluster.import_ray()
        self.config = RayConfig(**keywords) if config is None else config
        self._timing = timing
        self._nodes: dict[str, NodeHandle] = {}
        self._slots = Slots(self._nodes.values)
        self._pieces: dict[str, asyncio.Task[tuple[str, list[Any]]]] = {}
        self._call_ids = itertools.count()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connected = False
        self._watch_task: asyncio.Task[None] | None = None
        self._none_since: float | None = None
        """When the last ready node was lost, on the clock of the event loop."""
        self._lost = 0
        self._lost_before = 0
        """`_lost` when the metrics were last taken."""
        self._warned: set[str] = set()
        self._changed = asyncio.Event()
        self._closing = asyncio.Event()

    @property
    def workers(self) -> int:
        """Programs that can run at the same time now."""
        return sum(node.workers for node in self._nodes.values() if node.state == "ready")

    @property
    def nodes(self) -> tuple[NodeState, ...]:
        """Snapshots of the nodes."""
        work_s = [node.report.work_s for node in self._nodes.values() if node.report is not None]
        median = statistics.median(work_s) if work_s else 1.0
        return tuple(node.snapshot(median) for node in self._nodes.values())

    def describe(self) -> str:
        """The nodes as a table in text."""
        return "\n".join(
            f"{node.address}  {node.node_id[:8]}  {node.state}  {node.workers} workers  "
            + (f"speed {node.speed:.2f}" if node.speed is not None else "speed unknown")
            + (f"  {node.reason.splitlines()[0]}" if node.reason else "")
            for node in self.nodes
        )

    async def __aenter__(self) -> RaySandbox:
        if self._loop is not None:
            raise SandboxUnavailableError("This `RaySandbox` is running already; start it once.")
        self._loop = asyncio.get_running_loop()
        self._changed, self._closing = asyncio.Event(), asyncio.Event()
        self._none_since = None
        try:
            self._connected = await asyncio.to_thread(cluster.connect, self.config)
            cluster_nodes = await asyncio.to_thread(cluster.list_nodes, self.config)
            self._join(cluster_nodes)
            if not self._nodes:
                raise SandboxUnavailableError(self._too_small(cluster_nodes))
            await self._first_ready()
            self._watch_task = asyncio.create_task(self._watch())
        except BaseException:
            await asyncio.shield(self.__aexit__())
            raise
        _logger.info("programs run on %d nodes:\n%s", len(self._nodes), self.describe())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._loop = None
        if self._watch_task is not None:
            self._closing.set()
            # Not cancelled at first: its thread would go on asking the cluster while this process disconnects.
            await asyncio.wait({self._watch_task}, timeout=self._timing.close_s)
            self._watch_task.cancel()
            self._watch_task = None
        self._slots.fail("the sandbox was closed while the program waited for a node")
        await asyncio.gather(*(node.stop() for node in self._nodes.values()))
        self._nodes.clear()
        self._pieces.clear()
        if self._connected:
            self._connected = False
            await asyncio.to_thread(cluster.disconnect)

    def limits_for(self, task: TaskSpec) -> Limits:
        """The limits of a program of `task` if the caller gives none."""
        return default_limits(task, self.config.wall_s, self.config.memory_bytes)

    def overhead_s(self, task: TaskSpec, limits: Limits) -> float:
        """Longest time in seconds for a program to find a node, for the transfer of its files, and for the reply."""
        transfer_s = size_of(task.public_dir) / self._timing.slowest_bytes_per_s
        return self.config.node_wait_s + transfer_s + self._timing.answer_s

    async def run(
        self,
        code: str,
        task: TaskSpec,
        limits: Limits | None = None,
        *,
        source: str | None = None,
        group: Hashable = None,
        files: Mapping[str, bytes] | None = None,
    ) -> Execution:
        """Run `code` on a node with the task's public files under `./input/` and return what happened.

        The call waits for a free worker. Neither that time nor the transfer counts as time of the execution. If the call is
        cancelled, the program and all its processes are gone before it returns.

        Raises:
            ConfigError: `limits` or `files` are out of bounds.
            SandboxUnavailableError: the sandbox is not started, or a node lacks a package or file that the task needs.
            SandboxError: the sandbox failed. Nothing is known about the program except whether it `may_have_started`.
        """
        if self._loop is not asyncio.get_running_loop():
            raise SandboxUnavailableError(
                "This `RaySandbox` is not running in this event loop; use `async with sandbox:` around it."
            )
        limits = limits or self.limits_for(task)
        check_limits(limits)
        kept = check_files(files, limits)
        self._warn(limits)
        key, pieces = await self._packed(task)
        spec = _without_host_details(task)
        node = await self._slots.take()
        try:
            try:
                await node.prepare(key, pieces)
            except SandboxError:
                self._pieces.pop(os.path.realpath(task.public_dir), None)  # the objects may be lost: pack them again
                raise
            call = next(self._call_ids)
            longest_s = limits.wall_s + self._timing.answer_s
            return await node.run(call, key, code, source, spec, limits, longest_s, kept)
        finally:
            self._slots.give_back(node)

    def take_metrics(self) -> dict[str, float]:
        """Metric -> value: current nodes and workers, nodes lost since the last call, speeds of the slowest and fastest."""
        speeds = [node.speed for node in self.nodes if node.state == "ready" and node.speed is not None]
        lost, self._lost_before = self._lost - self._lost_before, self._lost
        return {
            "sandbox/nodes": float(len(speeds)),
            "sandbox/workers": float(self.workers),
            "sandbox/nodes_lost": float(lost),
            "sandbox/speed_min": min(speeds, default=0.0),
            "sandbox/speed_max": max(speeds, default=0.0),
        }

    # --- a task's files

    async def _packed(self, task: TaskSpec) -> tuple[str, list[Any]]:
        """The task's public files in the object store: a key and references to the pieces of their archive."""
        folder = os.path.realpath(task.public_dir)
        if folder not in self._pieces:
            self._pieces[folder] = asyncio.create_task(asyncio.to_thread(_pack, folder))
            self._pieces[folder].add_done_callback(lambda done: self._forget_failed(folder, done))
        try:
            return await asyncio.shield(self._pieces[folder])
        except SandboxUnavailableError as error:
            raise SandboxUnavailableError(f"Task {task.id!r} cannot run: {error}") from None
        except Exception as error:
            raise SandboxError(
                f"the files of {task.id!r} could not be packed: {error}", may_have_started=False
            ) from error

    def _forget_failed(self, folder: str, done: asyncio.Task[Any]) -> None:
        if done.cancelled() or done.exception() is not None:
            self._pieces.pop(folder, None)

    # --- nodes

    def _join(self, cluster_nodes: Sequence[ClusterNode]) -> None:
        """Start actors on new nodes, as far as the nodes have free capacity."""
        new = [node for node in cluster_nodes if node.node_id not in self._nodes]
        capacities = {node.node_id: cluster.capacity(node, self.config)[1] for node in new}
        limit = self.config.workers
        if limit is not None:
            # Lost nodes keep their share of `workers`, because their actors are started again.
            limit -= sum(handle.workers for handle in self._nodes.values() if handle.state != "left out")
        workers = cluster.assign_workers(capacities, limit)
        for node in new:
            if workers[node.node_id] > 0:
                handle = NodeHandle(node, workers[node.node_id], self.config, self._on_change, self._timing)
                self._nodes[node.node_id] = handle
                handle.start()

    async def _first_ready(self) -> None:
        """Wait until all nodes are ready, or `others_s` after the first one, at most `start_s`."""
        assert self._loop is not None
        deadline = self._loop.time() + self.config.start_s
        while any(node.state == "starting" for node in self._nodes.values()):
            try:
                async with asyncio.timeout_at(deadline):
                    await self._changed.wait()
            except TimeoutError:
                break
            self._changed.clear()
            if self.workers:
                deadline = min(deadline, self._loop.time() + self._timing.others_s)
        if self.workers:
            return
        reasons = "\n".join(f"- node {node.node.address}: {node.reason}" for node in self._nodes.values())
        raise SandboxUnavailableError(
            f"No node of the Ray cluster is ready for programs after at most `start_s`={self.config.start_s:g} seconds:\n"
            f"{reasons}\nWhere a node has not started, others may be using its CPUs or memory: see `ray status`."
        )

    async def _watch(self) -> None:
        """Check the cluster periodically: use new nodes, drop nodes that left, start lost actors again."""
        assert self._loop is not None
        has_failed = False
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._timing.look_s):
                    await self._closing.wait()
                return
            try:
                cluster_nodes = await asyncio.to_thread(cluster.list_nodes, self.config)
            except Exception as error:
                if not has_failed:  # one warning per outage
                    _logger.warning("the nodes of the Ray cluster cannot be listed: %s", error)
                has_failed = True
            else:
                has_failed = False
                alive = {node.node_id for node in cluster_nodes}
                for node_id, node in list(self._nodes.items()):
                    if node_id not in alive:
                        node.lose("the node is gone")
                        if not node.busy:  # else its programs still hold slots of it
                            del self._nodes[node_id]
                            await node.stop()
                    elif node.state == "lost":
                        node.start()
                self._join(cluster_nodes)
            self._check_any()

    def _check_any(self) -> None:
        """Fail the programs that wait once there has been no node for `node_wait_s`."""
        assert self._loop is not None
        if self.workers:
            self._none_since = None
        elif self._none_since is None:
            self._none_since = self._loop.time()
        elif self._loop.time() - self._none_since > self.config.node_wait_s:
            self._slots.fail(f"there has been no node for programs for `node_wait_s`={self.config.node_wait_s:g} s")

    def _on_change(self, node: NodeHandle) -> None:
        self._lost += node.state == "lost"
        self._changed.set()
        self._slots.serve()

    def _too_small(self, cluster_nodes: Sequence[ClusterNode]) -> str:
        listing = "\n".join(
            f"- node {node.address}: {node.free_cpus:g} of {node.cpus:g} CPUs and "
            f"{node.free_memory / 1024**3:.1f} of {node.memory / 1024**3:.1f} GiB free"
            for node in cluster_nodes
        )
        return (
            f"No node of the Ray cluster has room for a program, which needs `cpus_per_worker`={self.config.cpus_per_worker:g} "
            f"CPUs and `memory_per_worker`={self.config.memory_per_worker / 1024**3:.1f} GiB within `share`="
            f"{self.config.share:g} of a node:\n{listing}\nLower these, wait until others have finished, or add nodes."
        )

    def _warn(self, limits: Limits) -> None:
        """Warn once if a program may use more than `RayConfig` reserves for it."""
        for name, uses, reserved in (
            ("memory_per_worker", limits.memory_bytes, self.config.memory_per_worker),
            ("cpus_per_worker", limits.threads, self.config.cpus_per_worker),
        ):
            if uses > reserved and name not in self._warned:
                self._warned.add(name)
                _logger.warning("programs may use %g, but `%s` reserves %g: nodes can run short", uses, name, reserved)


def _without_host_details(task: TaskSpec) -> TaskSpec:
    """`task` as nodes see it: no description, no path of this machine, no field of a subclass."""
    known = {field.name: getattr(task, field.name) for field in fields(TaskSpec)}
    return TaskSpec(**{**known, "folder": Path("."), "description": ""})


def _pack(folder: str) -> tuple[str, list[Any]]:
    """Put the files of `folder` into the object store; a key and references to the pieces."""
    ray = cluster.connected_ray()
    pieces: list[Any] = []
    archive_stream.pack(folder, lambda piece: pieces.append(ray.put(piece)))
    return sha256(os.fsencode(folder)).hexdigest(), pieces
