"""`RaySandbox`: the sealed local sandbox on every node of a Ray cluster."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import statistics
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import fields
from hashlib import sha256
from pathlib import Path
from typing import Any

from trl_mle.config import RayConfig
from trl_mle.errors import ConfigError, SandboxError, SandboxUnavailableError
from trl_mle.sandboxes.base import check_limits, default_limits
from trl_mle.sandboxes.ray_cluster import cluster, public_files
from trl_mle.sandboxes.ray_cluster.cluster import Machine
from trl_mle.sandboxes.ray_cluster.node_handle import Member, NodeState
from trl_mle.sandboxes.ray_cluster.slots import Places
from trl_mle.types import Execution, Limits, TaskSpec

_logger = logging.getLogger(__name__)

_LOOK_S = 2.0
"""How often the cluster is looked at for nodes that have come or gone, in seconds."""
_OTHERS_S = 30.0
"""How long the first ready node waits for the others when the sandbox starts, in seconds."""
_CLOSE_S = 20.0
_ANSWER_S = 180.0
"""How long after the wall-clock limit of a program its node may take to say what happened, in seconds."""


class RaySandbox:
    """Runs programs on the nodes of a Ray cluster, each in a [`LocalSandbox`] of the node; see [`Sandbox`] for how to use it.

    One actor on each node reserves the CPUs and the memory of its workers. A program is sent to the node with the most free
    workers and waits here until there is one. Of a task, its public files are sent, once to each node through the object
    store, and looked at once; the answers never leave this machine. A node that is lost costs the programs that it ran,
    each as a `SandboxError` that says whether the program `may_have_started`; nodes that join are used, and a lost actor is
    started again.

    This package must be installed on every node, in the same version. The nodes need what [`LocalSandbox`] needs.

    Args:
        config (`RayConfig`, *optional*):
            All of the settings. Give either this or the keywords.
        address (`str`, *optional*):
            `"host:port"`, `"auto"` or `"ray://host:port"`. Where Ray is connected already, that cluster is used.
        workers (`int`, *optional*):
            Programs that run at the same time, on all nodes together. Defaults to what fits.
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
        **settings: Any,
    ):
        given = {"address": address, "workers": workers, **settings}
        if config is not None and any(value is not None for value in given.values()):
            named = ", ".join(f"`{name}`" for name, value in given.items() if value is not None)
            raise ConfigError(f"`config` and the keywords {named} were both given; put the values into `RayConfig`.")
        cluster.import_ray()
        self.config = RayConfig(**given) if config is None else config
        self._members: dict[str, Member] = {}
        self._places = Places(self._members.values)
        self._pieces: dict[str, asyncio.Task[tuple[str, list[Any]]]] = {}
        self._numbers = itertools.count()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connected = False
        self._watching: asyncio.Task[None] | None = None
        self._none_since: float | None = None
        self._lost = 0
        self._looked_lost = 0
        self._warned: set[str] = set()
        self._changed = asyncio.Event()
        self._closing = asyncio.Event()

    @property
    def workers(self) -> int:
        """Programs that can run at the same time now."""
        return sum(member.workers for member in self._members.values() if member.state == "ready")

    @property
    def nodes(self) -> tuple[NodeState, ...]:
        """The nodes as they are now."""
        found = [m.report.work_s for m in self._members.values() if m.report is not None]
        median = statistics.median(found) if found else 1.0
        return tuple(member.as_seen(median) for member in self._members.values())

    def describe(self) -> str:
        """The nodes as a table in text."""
        return "\n".join(
            f"{node.address}  {node.node_id[:8]}  {node.state}  {node.workers} workers  "
            + (f"speed {node.speed:.2f}" if node.speed is not None else "speed unknown")
            + (f"  {node.words.splitlines()[0]}" if node.words else "")
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
            machines = await asyncio.to_thread(cluster.look, self.config)
            self._join(machines)
            if not self._members:
                raise SandboxUnavailableError(self._too_small(machines))
            await self._first_ready()
            self._watching = asyncio.create_task(self._watch())
        except BaseException:
            await asyncio.shield(self.__aexit__())
            raise
        _logger.info("programs run on %d nodes:\n%s", len(self._members), self.describe())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._loop = None
        if self._watching is not None:
            self._closing.set()
            # Not cancelled: its thread would go on looking at a cluster that this process leaves.
            await asyncio.wait({self._watching}, timeout=_CLOSE_S)
            self._watching.cancel()
            self._watching = None
        self._places.fail("the sandbox was closed while the program waited for a node")
        await asyncio.gather(*(member.stop() for member in self._members.values()))
        self._members.clear()
        self._pieces.clear()
        if self._connected:
            self._connected = False
            await asyncio.to_thread(cluster.disconnect)

    async def run(
        self, code: str, task: TaskSpec, limits: Limits | None = None, *, source: str | None = None
    ) -> Execution:
        """Run `code` on a node with the task's public files under `./input/` and return what happened.

        Waits for a free worker; that time is no part of the execution, nor is the way there and back. When the call is
        cancelled, the program and all its processes are gone before it returns.

        Raises:
            SandboxUnavailableError: the sandbox is not started, or a node lacks a package or file that the task needs.
            SandboxError: the sandbox failed; nothing is known about the program, but whether it `may_have_started`.
        """
        if self._loop is not asyncio.get_running_loop():
            raise SandboxUnavailableError(
                "This `RaySandbox` is not running in this event loop; use `async with sandbox:` around it."
            )
        limits = limits or self.limits_for(task)
        check_limits(limits)
        self._warn(limits)
        key, pieces = await self._packed(task)
        spec = _travelling(task)
        member = await self._places.take()
        try:
            try:
                await member.prepare(key, pieces)
            except SandboxError:
                self._pieces.pop(os.path.realpath(task.public_dir), None)  # should they be lost, they are packed again
                raise
            call = next(self._numbers)
            return await member.run(call, key, code, source, spec, limits, limits.wall_s + _ANSWER_S)
        finally:
            self._places.give_back(member)

    def limits_for(self, task: TaskSpec) -> Limits:
        """The limits of a program of `task` if `run` gets none."""
        return default_limits(task, self.config.wall_s)

    def take_metrics(self) -> dict[str, float]:
        """Metric -> value: nodes and workers now, nodes lost since the last call, speeds of the slowest and the fastest."""
        speeds = [node.speed for node in self.nodes if node.state == "ready" and node.speed is not None]
        lost, self._looked_lost = self._lost - self._looked_lost, self._lost
        return {
            "sandbox/nodes": float(len(speeds)),
            "sandbox/workers": float(self.workers),
            "sandbox/nodes_lost": float(lost),
            "sandbox/speed_min": min(speeds, default=0.0),
            "sandbox/speed_max": max(speeds, default=0.0),
        }

    # --- a task's files

    async def _packed(self, task: TaskSpec) -> tuple[str, list[Any]]:
        """The task's public files in the object store: a key and references to pieces."""
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

    def _join(self, machines: Sequence[Machine]) -> None:
        """Use nodes that have come, as far as they have room now."""
        new = [machine for machine in machines if machine.node_id not in self._members]
        rooms = {machine.node_id: cluster.room(machine, self.config)[1] for machine in new}
        most = self.config.workers
        if most is not None:
            most -= sum(m.workers for m in self._members.values() if m.state != "left out")
        given = cluster.shares(rooms, most)
        for machine in new:
            if given[machine.node_id] > 0:
                member = Member(machine, given[machine.node_id], self.config, self._on_change)
                self._members[machine.node_id] = member
                member.start()

    async def _first_ready(self) -> None:
        """Return when all nodes are ready, or the first and then as many as are soon, as late as `start_s`."""
        assert self._loop is not None
        deadline = self._loop.time() + self.config.start_s
        while any(member.state == "starting" for member in self._members.values()):
            try:
                async with asyncio.timeout_at(deadline):
                    await self._changed.wait()
            except TimeoutError:
                break
            self._changed.clear()
            if self.workers:
                deadline = min(deadline, self._loop.time() + _OTHERS_S)
        if self.workers:
            return
        reasons = "\n".join(f"- node {member.machine.address}: {member.words}" for member in self._members.values())
        raise SandboxUnavailableError(
            f"No node of the Ray cluster is ready for programs after at most `start_s`={self.config.start_s:g} seconds:\n"
            f"{reasons}\nWhere a node has not started, others may be using its CPUs or memory: see `ray status`."
        )

    async def _watch(self) -> None:
        """Look at the cluster again and again: nodes come, nodes go, and lost actors are started again."""
        assert self._loop is not None
        blind = False
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._closing.wait()
                return
            try:
                machines = await asyncio.to_thread(cluster.look, self.config)
            except Exception as error:
                if not blind:
                    _logger.warning("the Ray cluster cannot be looked at: %s", error)
                blind = True
            else:
                blind = False
                alive = {machine.node_id for machine in machines}
                for node_id, member in list(self._members.items()):
                    if node_id not in alive:
                        member.lose("the node is gone")
                        if not member.busy:
                            del self._members[node_id]
                            await member.stop()
                    elif member.state == "lost":
                        member.start()
                self._join(machines)
            self._check_any()

    def _check_any(self) -> None:
        """Let no program wait for nodes for ever."""
        assert self._loop is not None
        if self.workers:
            self._none_since = None
        elif self._none_since is None:
            self._none_since = self._loop.time()
        elif self._loop.time() - self._none_since > self.config.node_wait_s:
            self._places.fail(f"there has been no node for programs for `node_wait_s`={self.config.node_wait_s:g} s")

    def _on_change(self, member: Member) -> None:
        self._lost += member.state == "lost"
        self._changed.set()
        self._places.serve()

    def _too_small(self, machines: Sequence[Machine]) -> str:
        has = "\n".join(
            f"- node {machine.address}: {machine.free_cpus:g} of {machine.cpus:g} CPUs and "
            f"{machine.free_memory / 1024**3:.1f} of {machine.memory / 1024**3:.1f} GiB free"
            for machine in machines
        )
        return (
            f"No node of the Ray cluster has room for a program, which needs `cpus_per_worker`={self.config.cpus_per_worker:g} "
            f"CPUs and `memory_per_worker`={self.config.memory_per_worker / 1024**3:.1f} GiB within `share`="
            f"{self.config.share:g} of a node:\n{has}\nLower these, wait until others have finished, or add nodes."
        )

    def _warn(self, limits: Limits) -> None:
        """Say once where a program may use more than is reserved for it."""
        for name, uses, reserved in (
            ("memory_per_worker", limits.memory_bytes, self.config.memory_per_worker),
            ("cpus_per_worker", limits.threads, self.config.cpus_per_worker),
        ):
            if uses > reserved and name not in self._warned:
                self._warned.add(name)
                _logger.warning("programs may use %g, but `%s` reserves %g: nodes can run short", uses, name, reserved)


def _travelling(task: TaskSpec) -> TaskSpec:
    """What a node gets to know: no description, no name of a folder of this machine, nothing that a subclass adds."""
    known = {field.name: getattr(task, field.name) for field in fields(TaskSpec)}
    return TaskSpec(**{**known, "folder": Path("."), "description": ""})


def _pack(folder: str) -> tuple[str, list[Any]]:
    """Put the files of `folder` into the object store, in pieces."""
    ray = cluster.connected_ray()
    pieces: list[Any] = []
    public_files.pack(folder, lambda piece: pieces.append(ray.put(piece)))
    return sha256(os.fsencode(folder)).hexdigest(), pieces
