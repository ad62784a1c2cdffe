"""One node as the driver sees it: its actor, its places, and the tasks whose files it has."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

import trl_mle
from trl_mle.config import RayConfig, SandboxConfig
from trl_mle.errors import SandboxError, SandboxUnavailableError
from trl_mle.sandboxes.isolation import Layer
from trl_mle.sandboxes.ray_cluster.cluster import Machine, connected_ray, import_ray
from trl_mle.sandboxes.ray_cluster.node_actor import Fault, Node, Report
from trl_mle.types import Execution, Limits, TaskSpec

_logger = logging.getLogger(__name__)

_STOP_S = 10.0
_CANCEL_S = 25.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
_NOT_IMPORTED = "failed to import on the worker"
"""What Ray says of an actor whose class is not there."""


class LostError(SandboxError):
    """The node or its actor is gone, with the programs that it ran."""


@dataclass(frozen=True)
class NodeState:
    """One node that runs programs, or that should."""

    node_id: str
    address: str
    state: str
    """`ready`, `starting`, `lost` or `left out`."""
    workers: int
    busy: int
    starts: int
    """How often its process was started."""
    speed: float | None
    """How fast one of its cores is, measured when it started; 1 is the median of the nodes."""
    layers: tuple[Layer, ...]
    """Its layers of isolation."""
    words: str
    """Why it is not ready; empty where it is."""


class Member:
    """A node of the cluster that runs programs.

    Args:
        machine ([`Machine`]): which node.
        workers (`int`): programs at the same time.
        config ([`RayConfig`]): settings of the sandbox.
        changed (`Callable`): told whenever the node has become ready or has been lost.
    """

    def __init__(self, machine: Machine, workers: int, config: RayConfig, changed: Callable[[Member], None]):
        self.machine = machine
        self.workers = workers
        self.state: Literal["starting", "ready", "lost", "left out"] = "starting"
        self.report: Report | None = None
        self.words = "it has not started yet"
        """Why it is not ready."""
        self.busy = 0
        self.starts = 0
        """How often its actor was started."""
        self._config = config
        self._changed = changed
        self._failures = 0
        """Starts in a row after which no program has run."""
        self._faults = 0
        """Programs in a row that could not be started there."""
        self._actor: Any = None
        self._starting: asyncio.Task[None] | None = None
        self._prepared: dict[str, asyncio.Task[None]] = {}

    @property
    def free(self) -> int:
        """Programs that it could take now."""
        return self.workers - self.busy if self.state == "ready" else 0

    def as_seen(self, median_work_s: float) -> NodeState:
        """What others may know of it; `median_work_s` is the median of all nodes' `Report.work_s`."""
        return NodeState(
            node_id=self.machine.node_id,
            address=self.machine.address,
            state=self.state,
            workers=self.workers,
            busy=self.busy,
            starts=self.starts,
            speed=None if self.report is None else median_work_s / self.report.work_s,
            layers=() if self.report is None else self.report.layers,
            words="" if self.state == "ready" else self.words,
        )

    # --- life

    def start(self) -> None:
        """Start its actor in the background, again and again with growing pauses, as often as it may be."""
        self.state = "starting"
        self._starting = asyncio.create_task(self._start())

    async def _start(self) -> None:
        while True:
            if self._failures:
                await asyncio.sleep(min(_FIRST_PAUSE_S * 2 ** (self._failures - 1), _LONGEST_PAUSE_S))
            self.starts += 1
            self._failures += 1  # until a program has run
            found = await self._start_once()
            if isinstance(found, Report):
                self.report, self.state = found, "ready"
                self._changed(self)
                return
            self.words = found.words
            self._kill()
            if found.lasting or self._failures > self._config.restarts:
                self.state = "left out"
                _logger.warning("node %s runs no programs: %s", self.machine.address, found.words)
                self._changed(self)
                return
            _logger.warning("the process on node %s is started again: %s", self.machine.address, found.words)

    async def _start_once(self) -> Report | Fault:
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
                self.machine.node_id, soft=False
            ),
            "runtime_env": self._config.runtime_env,
        }
        self._prepared, self._faults = {}, 0
        try:
            self._actor = connected_ray().remote(Node).options(**options).remote(config, trl_mle.__version__)
            return await self._actor.start.remote()
        except ray.exceptions.RayError as error:
            words = _in_short(error)
            if _NOT_IMPORTED in str(error):
                words = f"trl_mle cannot be imported there; install it on every node, or set `runtime_env`. {words}"
                return Fault(words, lasting=True)
            return Fault(f"its process ended while it started. {words}")
        except Exception as error:  # options that Ray refuses, or a lost connection
            lasting = isinstance(error, (TypeError, ValueError))
            return Fault(f"its process could not be started. {_in_short(error)}", lasting=lasting)

    def lose(self, words: str) -> None:
        """The actor is gone or cannot be used: no program is given to it any more, and it is started again."""
        if self.state != "ready":
            return
        self.state, self.words = "lost", words
        _logger.warning("node %s has lost its process: %s", self.machine.address, words)
        self._kill()
        self._changed(self)

    def _kill(self) -> None:
        actor, self._actor = self._actor, None
        if actor is not None:
            with suppress(Exception):  # it is gone already, or Ray is
                connected_ray().kill(actor)

    async def stop(self) -> None:
        """End its actor with all programs, and remove what it has on the disk."""
        if self._starting is not None and not self._starting.done():
            self._starting.cancel()
            await asyncio.wait({self._starting})
        ready, self.state, self.words = self.state == "ready", "left out", "the sandbox was closed"
        if ready:
            with suppress(Exception):
                stopping = asyncio.ensure_future(_result(self._actor.stop.remote()))
                stopping.add_done_callback(_look_at)
                await asyncio.wait({stopping}, timeout=_STOP_S)
        self._kill()

    # --- programs

    async def prepare(self, key: str, pieces: list[Any]) -> None:
        """Have the files of a task there, which are sent once.

        Raises:
            SandboxError: they could not be sent; programs have not started.
        """
        if key not in self._prepared:
            self._prepared[key] = asyncio.create_task(self._prepare(self._actor, key, pieces))
            self._prepared[key].add_done_callback(_look_at)
        sending = self._prepared[key]
        await asyncio.shield(sending)

    async def _prepare(self, actor: Any, key: str, pieces: list[Any]) -> None:
        try:
            fault = await _result(actor.prepare.remote(key, pieces))
            if fault is not None:
                self._count_fault(fault, actor)
                raise SandboxError(f"on node {self.machine.address}: {fault.words}", may_have_started=False)
        except BaseException as error:
            if self._actor is actor:
                self._prepared.pop(key, None)
            if isinstance(error, (SandboxError, asyncio.CancelledError)):
                raise
            if self._actor is actor:
                self.lose(_in_short(error))
            raise LostError(self._lost_words(error), may_have_started=False) from error

    async def run(
        self, call: int, key: str, code: str, source: str | None, task: TaskSpec, limits: Limits, longest_s: float
    ) -> Execution:
        """Run a program there. When the call is cancelled, the program is gone before it returns.

        Raises:
            SandboxUnavailableError: the node lacks something that the task needs.
            SandboxError: the node failed, or said nothing for `longest_s` seconds.
        """
        actor = self._actor
        if self.state != "ready":
            raise LostError(f"node {self.machine.address} was lost: {self.words}", may_have_started=False)
        try:
            ref = actor.run.remote(call, key, code, source, task, limits)
        except Exception as error:  # it never left this process
            raise SandboxError(f"the program could not be sent: {error}", may_have_started=False) from error
        reply = asyncio.ensure_future(_result(ref))
        try:
            await asyncio.wait({reply}, timeout=longest_s)
        except asyncio.CancelledError:
            await self._cancel(actor, call, reply)
            raise
        if not reply.done():
            reply.add_done_callback(_look_at)
            words = f"node {self.machine.address} did not answer within {longest_s:g} s"
            if self._actor is actor:
                self.lose(words)
            raise SandboxError(words)
        try:
            result = reply.result()
        except Exception as error:
            if isinstance(error, import_ray().exceptions.RayTaskError):  # a bug of ours; the actor lives
                raise SandboxError(f"on node {self.machine.address}: {error}") from error
            if self._actor is actor:
                self.lose(_in_short(error))
            raise LostError(self._lost_words(error)) from error
        if isinstance(result, Fault):
            self._take_fault(result, key, actor)
        self._failures = self._faults = 0
        return result

    def _take_fault(self, fault: Fault, key: str, actor: Any) -> NoReturn:
        words = f"on node {self.machine.address}: {fault.words}"
        if fault.lasting:
            raise SandboxUnavailableError(words)
        if fault.unprepared and self._actor is actor:
            self._prepared.pop(key, None)
        self._count_fault(fault, actor)
        raise SandboxError(words, may_have_started=fault.may_have_started)

    def _count_fault(self, fault: Fault, actor: Any) -> None:
        """A node that starts no programs, although its actor lives, gets a new actor."""
        if self._actor is actor and not fault.unprepared:
            self._faults = 0 if fault.may_have_started else self._faults + 1
            if self._faults >= 2 * self.workers + 1:
                self.lose(f"it cannot start programs: {fault.words}")

    async def _cancel(self, actor: Any, call: int, reply: asyncio.Future[Any]) -> None:
        reply.add_done_callback(_look_at)
        if reply.done():
            return
        stopping = asyncio.ensure_future(_result(actor.cancel.remote(call)))
        stopping.add_done_callback(_look_at)
        await asyncio.wait({stopping}, timeout=_CANCEL_S)
        if not stopping.done() and self._actor is actor:
            self.lose(f"it did not stop a program within {_CANCEL_S:g} s")

    def _lost_words(self, error: BaseException) -> str:
        return f"node {self.machine.address} was lost while it had the program: {_in_short(error)}"


async def _result(ref: Any) -> Any:
    """The value of a reference of Ray, in a coroutine: nothing that waits for it cancels the reference itself."""
    return await ref


def _look_at(future: asyncio.Future[Any]) -> None:
    """An exception that nobody waits for is no news."""
    if not future.cancelled():
        future.exception()


def _in_short(error: BaseException) -> str:
    """What an error of Ray says first, and the cause, which comes last; in between is a traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    last = f" ... {lines[-1]}" if len(lines) > 1 else ""
    return f"{type(error).__name__}: {lines[0][:300]}{last[:300]}"
