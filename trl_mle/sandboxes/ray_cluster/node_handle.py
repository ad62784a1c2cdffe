"""One node on the driver's side: its actor, its slots and the tasks whose files it has."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

import trl_mle
from trl_mle.config import RayConfig, SandboxConfig
from trl_mle.errors import SandboxError, SandboxUnavailableError
from trl_mle.sandboxes.isolation import Layer
from trl_mle.sandboxes.ray_cluster.cluster import ClusterNode, connected_ray, import_ray
from trl_mle.sandboxes.ray_cluster.node_actor import NodeActor, NodeFault, NodeReport
from trl_mle.sandboxes.ray_cluster.timing import RayTiming
from trl_mle.types import Execution, Limits, TaskSpec

_logger = logging.getLogger(__name__)

_NOT_IMPORTED = "failed to import on the worker"
"""Part of Ray's message about an actor whose class cannot be imported on the node."""


class LostError(SandboxError):
    """The node or its actor is gone, together with the programs that it ran."""


@dataclass(frozen=True)
class NodeState:
    """A snapshot of one node of a `RaySandbox`."""

    node_id: str
    address: str
    state: str
    """`ready`, `starting`, `lost` or `left out`."""
    workers: int
    busy: int
    starts: int
    """How often its actor was started."""
    speed: float | None
    """Speed of one of its cores, measured when the actor started. 1 is the median of the nodes; `None` before the start."""
    layers: tuple[Layer, ...]
    """Layers of isolation on the node."""
    reason: str
    """Why the node is not ready; empty if it is ready."""


class NodeHandle:
    """A node of the cluster that runs programs.

    Args:
        node ([`ClusterNode`]): the node.
        workers (`int`): programs at the same time.
        config ([`RayConfig`]): settings of the sandbox.
        changed (`Callable`): called when the node has become ready, has been lost or is left out.
        timing ([`RayTiming`], *optional*): durations that tests shorten.
    """

    def __init__(
        self,
        node: ClusterNode,
        workers: int,
        config: RayConfig,
        changed: Callable[[NodeHandle], None],
        timing: RayTiming = RayTiming(),  # noqa: B008 - frozen
    ):
        self.node = node
        self.workers = workers
        self.state: Literal["starting", "ready", "lost", "left out"] = "starting"
        self.report: NodeReport | None = None
        self.reason = "it has not started yet"
        """Why the node is not ready."""
        self.busy = 0
        """Programs that have a slot of the node."""
        self.starts = 0
        """How often its actor was started."""
        self._config = config
        self._changed = changed
        self._timing = timing
        self._failures = 0
        """Starts of the actor since a program last ran."""
        self._faults = 0
        """Programs in a row that the actor could not start."""
        self._actor: Any = None
        self._starting: asyncio.Task[None] | None = None
        self._prepared: dict[str, asyncio.Task[None]] = {}

    @property
    def free(self) -> int:
        """Slots that are free now."""
        return self.workers - self.busy if self.state == "ready" else 0

    def snapshot(self, median_work_s: float) -> NodeState:
        """The state of the node; `median_work_s` is the median of `NodeReport.work_s` over all nodes."""
        return NodeState(
            node_id=self.node.node_id,
            address=self.node.address,
            state=self.state,
            workers=self.workers,
            busy=self.busy,
            starts=self.starts,
            speed=None if self.report is None else median_work_s / self.report.work_s,
            layers=() if self.report is None else self.report.layers,
            reason="" if self.state == "ready" else self.reason,
        )

    # --- life

    def start(self) -> None:
        """Start the actor in the background, with growing pauses between at most `restarts` failed starts in a row."""
        self.state = "starting"
        self._starting = asyncio.create_task(self._start())

    async def _start(self) -> None:
        pause_s = self._timing.first_pause_s
        while True:
            if self._failures:
                await asyncio.sleep(min(pause_s * 2 ** (self._failures - 1), self._timing.longest_pause_s))
            self.starts += 1
            self._failures += 1  # reset when a program has run: an actor that starts but runs nothing is no success
            result = await self._start_once()
            if isinstance(result, NodeReport):
                self.report, self.state = result, "ready"
                self._changed(self)
                return
            self.reason = result.message
            self._kill()
            if result.is_permanent or self._failures > self._config.restarts:
                self.state = "left out"
                _logger.warning("node %s runs no programs: %s", self.node.address, result.message)
                self._changed(self)
                return
            _logger.warning("the process on node %s is started again: %s", self.node.address, result.message)

    async def _start_once(self) -> NodeReport | NodeFault:
        ray = import_ray()
        config = SandboxConfig(
            workers=self.workers,
            isolation=self._config.isolation,
            wall_s=self._config.wall_s,
            preload=self._config.preload,
            scratch_dir=self._config.scratch_dir,
        )
        options = {
            "num_cpus": self.workers * self._config.cpus_per_worker,
            "memory": self.workers * self._config.memory_per_worker,
            "max_concurrency": 4 * self.workers + 100,
            "max_restarts": 0,
            "max_task_retries": 0,  # a program never runs twice
            "scheduling_strategy": ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
                self.node.node_id, soft=False
            ),
            "runtime_env": self._config.runtime_env,
        }
        self._prepared, self._faults = {}, 0
        try:
            self._actor = connected_ray().remote(NodeActor).options(**options).remote(config, trl_mle.__version__)
            return await self._actor.start.remote()
        except ray.exceptions.RayError as error:
            message = _summary(error)
            if _NOT_IMPORTED in str(error):
                message = (
                    f"trl_mle cannot be imported there; install it on every node, or set `runtime_env`. {message}"
                )
                return NodeFault(message, is_permanent=True)
            return NodeFault(f"its process ended while it started. {message}")
        except Exception as error:  # options that Ray refuses (they stay wrong), or a lost connection
            is_permanent = isinstance(error, (TypeError, ValueError))
            return NodeFault(f"its process could not be started. {_summary(error)}", is_permanent=is_permanent)

    def lose(self, reason: str) -> None:
        """Mark the actor as gone or unusable: it gets no more programs, and `RaySandbox` starts it again."""
        if self.state != "ready":
            return
        self.state, self.reason = "lost", reason
        _logger.warning("node %s has lost its process: %s", self.node.address, reason)
        self._kill()
        self._changed(self)

    def _kill(self) -> None:
        actor, self._actor = self._actor, None
        if actor is not None:
            with suppress(Exception):  # the actor or the connection is gone already
                connected_ray().kill(actor)

    async def stop(self) -> None:
        """End the actor with all its programs and remove its files on the node."""
        if self._starting is not None and not self._starting.done():
            self._starting.cancel()
            await asyncio.wait({self._starting})
        ready, self.state, self.reason = self.state == "ready", "left out", "the sandbox was closed"
        if ready:
            with suppress(Exception):
                stopping = asyncio.ensure_future(_result(self._actor.stop.remote()))
                stopping.add_done_callback(_retrieve)
                await asyncio.wait({stopping}, timeout=self._timing.stop_s)
        self._kill()

    # --- programs

    async def prepare(self, key: str, pieces: list[Any]) -> None:
        """Make sure that the node has the public files of a task. They are sent once.

        Raises:
            SandboxError: the files could not be sent. No program has started.
        """
        if key not in self._prepared:
            self._prepared[key] = asyncio.create_task(self._prepare(self._actor, key, pieces))
            self._prepared[key].add_done_callback(_retrieve)
        # Shielded: other programs wait for the same files when the caller is cancelled.
        sending = self._prepared[key]
        await asyncio.shield(sending)

    async def _prepare(self, actor: Any, key: str, pieces: list[Any]) -> None:
        try:
            fault = await _result(actor.prepare.remote(key, pieces))
            if fault is not None:
                self._count_fault(fault, actor)
                raise SandboxError(f"on node {self.node.address}: {fault.message}", may_have_started=False)
        except BaseException as error:
            # A new actor has a table of its own, which must not lose entries by the end of an old one.
            if self._actor is actor:
                self._prepared.pop(key, None)
            if isinstance(error, (SandboxError, asyncio.CancelledError)):
                raise
            if self._actor is actor:
                self.lose(_summary(error))
            raise LostError(self._lost_message(error), may_have_started=False) from error

    async def run(
        self,
        call: int,
        key: str,
        code: str,
        source: str | None,
        task: TaskSpec,
        limits: Limits,
        longest_s: float,
        files: Mapping[str, bytes] | None = None,
    ) -> Execution:
        """Run a program on the node. If the call is cancelled, the program is gone before it returns.

        Raises:
            SandboxUnavailableError: the node lacks something that the task needs.
            SandboxError: the node failed, or did not answer within `longest_s` seconds.
        """
        actor = self._actor
        if self.state != "ready":
            raise LostError(f"node {self.node.address} was lost: {self.reason}", may_have_started=False)
        try:
            ref = actor.run.remote(call, key, code, source, task, limits, files)
        except Exception as error:  # the program has not left this process
            raise SandboxError(f"the program could not be sent: {error}", may_have_started=False) from error
        reply = asyncio.ensure_future(_result(ref))
        try:
            await asyncio.wait({reply}, timeout=longest_s)
        except asyncio.CancelledError:
            await self._cancel(actor, call, reply)
            raise
        if not reply.done():
            reply.add_done_callback(_retrieve)
            message = f"node {self.node.address} did not answer within {longest_s:g} s"
            if self._actor is actor:
                self.lose(message)
            raise SandboxError(message)
        try:
            result = reply.result()
        except Exception as error:
            if isinstance(error, import_ray().exceptions.RayTaskError):  # a bug of `NodeActor`; the actor lives
                raise SandboxError(f"on node {self.node.address}: {error}") from error
            if self._actor is actor:
                self.lose(_summary(error))
            raise LostError(self._lost_message(error)) from error
        if isinstance(result, NodeFault):
            self._take_fault(result, key, actor)
        self._failures = self._faults = 0
        return result

    def _take_fault(self, fault: NodeFault, key: str, actor: Any) -> NoReturn:
        message = f"on node {self.node.address}: {fault.message}"
        if fault.is_permanent:
            raise SandboxUnavailableError(message)
        if fault.lacks_files and self._actor is actor:
            self._prepared.pop(key, None)
        self._count_fault(fault, actor)
        raise SandboxError(message, may_have_started=fault.may_have_started)

    def _count_fault(self, fault: NodeFault, actor: Any) -> None:
        """Replace the actor after many programs in a row that it could not start, although it lives."""
        if self._actor is actor and not fault.lacks_files:
            self._faults = 0 if fault.may_have_started else self._faults + 1
            # More than two rounds of all workers: one bad round can be a passing shortage of memory or processes.
            if self._faults >= 2 * self.workers + 1:
                self.lose(f"it cannot start programs: {fault.message}")

    async def _cancel(self, actor: Any, call: int, reply: asyncio.Future[Any]) -> None:
        reply.add_done_callback(_retrieve)
        if reply.done():
            return
        stopping = asyncio.ensure_future(_result(actor.cancel.remote(call)))
        stopping.add_done_callback(_retrieve)
        await asyncio.wait({stopping}, timeout=self._timing.cancel_s)
        if not stopping.done() and self._actor is actor:
            self.lose(f"it did not stop a program within {self._timing.cancel_s:g} s")

    def _lost_message(self, error: BaseException) -> str:
        return f"node {self.node.address} was lost while it had the program: {_summary(error)}"


async def _result(ref: Any) -> Any:
    """The value of a Ray reference. The coroutine keeps a cancellation of its task away from the reference itself."""
    return await ref


def _retrieve(future: asyncio.Future[Any]) -> None:
    """Retrieve the exception of a future that nobody awaits, so that asyncio does not log it."""
    if not future.cancelled():
        future.exception()


def _summary(error: BaseException) -> str:
    """First and last line of a Ray error: the message and its cause, without the traceback between them."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    last = f" ... {lines[-1]}" if len(lines) > 1 else ""
    return f"{type(error).__name__}: {lines[0][:300]}{last[:300]}"
