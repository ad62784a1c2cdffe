"""`SandboxPool`: one queue in front of a sandbox, whichever it is."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
)

from trl_mle.circuit_breaker import Circuit
from trl_mle.config import PoolConfig
from trl_mle.errors import ConfigError, SandboxUnavailableError, UserError
from trl_mle.sandboxes.base import Sandbox
from trl_mle.sandboxes.pool.counts import Counts, Metrics, PoolFaultError
from trl_mle.sandboxes.pool.fair_queue import FairQueue
from trl_mle.sandboxes.pool.progress_line import LiveLine
from trl_mle.sandboxes.pool.retries import has_not_started, pause
from trl_mle.types import Execution, Limits, TaskSpec

_logger = logging.getLogger(__name__)

_LINE_AFTER_S = 0.5
_LOOK_S = 2.0
"""How often a queue looks whether the sandbox has more workers than before, in seconds."""
_SOON_S = 0.01
_UNKNOWN_PLACES = 64
"""Programs at a time where neither the settings nor the sandbox say how many."""


@dataclass(eq=False)
class _Turn:
    """One program's time with the sandbox."""

    probes: bool
    """Whether it tries a sandbox that was down."""
    told: bool = False
    """Whether the circuit knows what became of it."""


class SandboxPool:
    """Gives programs to a sandbox: so many at a time, groups in turn, each within its deadlines; itself a [`Sandbox`].

    A program is given to the sandbox again only after a fault before which it certainly cannot have started
    (`SandboxError.may_have_started`), so that none ever runs twice. When the sandbox fails again and again, the circuit
    opens: programs wait, one of them is tried after a cool-down, and if that lasts they are given up. Results come as
    programs end, in no order.

    Args:
        sandbox ([`Sandbox`]):
            Where programs run. The pool opens and closes it; one that is open already can be used without that.
        config ([`PoolConfig`], *optional*):
            Places, retries and deadlines.
        clock (`Callable[[], float]`, *optional*):
            Monotonic seconds, for the circuit.

    Example:

    ```python
    async with SandboxPool(RaySandbox(address="auto")) as pool:
        runs = [pool.run(code, task, group=prompt) for prompt, code in programs]
        executions = await asyncio.gather(*runs, return_exceptions=True)
    ```
    """

    def __init__(
        self, sandbox: Sandbox, config: PoolConfig | None = None, *, clock: Callable[[], float] = time.monotonic
    ):
        if isinstance(sandbox, SandboxPool):
            raise ConfigError("`sandbox` is a `SandboxPool` already; give it as it is.")
        self.sandbox = sandbox
        self.config = PoolConfig() if config is None else config
        self.counts = Counts()
        """What became of the programs so far."""
        self.circuit = Circuit(
            f"The sandbox {type(sandbox).__name__}",
            self.config.cool_down_s,
            clock,
            failures=self.config.failures,
            when_open=f"Programs wait, one is tried every now and then, and after {self.config.outage_s:g} s they are given "
            "up (metric sandbox/fault/outage).",
            when_closed="Programs are run again.",
        )
        self._clock = clock
        self._shows_source = "source" in inspect.signature(sandbox.run).parameters
        self._queue: FairQueue[asyncio.Future[_Turn]] = FairQueue()
        self._metrics = Metrics(self.counts)
        self._down_since: float | None = None
        self._probe: _Turn | None = None
        """The program that is tried while the circuit is open."""
        self._alarm: asyncio.TimerHandle | None = None
        self._line = LiveLine(self.counts, self.config.progress)
        self._line_alarm: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def places(self) -> int:
        """Programs that may be with the sandbox at the same time; where it does not say, as many as it has workers."""
        if self.config.concurrency is not None:
            return self.config.concurrency
        workers = getattr(self.sandbox, "workers", None)
        return max(1, workers) if isinstance(workers, int) else _UNKNOWN_PLACES

    async def __aenter__(self) -> SandboxPool:
        try:
            async with asyncio.timeout(self.config.open_s):
                await self.sandbox.__aenter__()
        except TimeoutError:
            raise SandboxUnavailableError(
                f"{type(self.sandbox).__name__} was not open within `open_s`={self.config.open_s:g} seconds."
            ) from None
        self._closed = False
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._closed = True
        self._give_up("the pool was closed while the program waited for a place", "closed")
        try:
            await self.sandbox.__aexit__(*exc_info)
        finally:
            self._stop_alarm()
            self._hide_line()

    async def run(
        self,
        code: str,
        task: TaskSpec,
        limits: Limits | None = None,
        *,
        source: str | None = None,
        group: Hashable = None,
    ) -> Execution:
        """Run `code` when its turn comes; see [`Sandbox.run`].

        Args:
            group (hashable, *optional*):
                Groups take turns, for example one for each prompt; a large one cannot hold up the others.

        Raises:
            SandboxUnavailableError: the sandbox cannot work as configured.
            SandboxError: the sandbox failed, also when the program was tried again as often as it may be.
        """
        deadline = None if self.config.queue_s is None else asyncio.get_running_loop().time() + self.config.queue_s
        self._show_line()
        try:
            execution: Execution | None = None
            async for attempt in AsyncRetrying(
                retry=retry_if_exception(has_not_started),
                stop=stop_after_attempt(1 + self.config.retries),
                wait=pause,
                before_sleep=self._before_retry,
                reraise=True,
            ):
                with attempt:
                    execution = await self._try(code, task, limits, source, group, deadline)
            assert execution is not None
        except asyncio.CancelledError:
            self.counts.cancelled += 1
            raise
        except Exception as error:
            self.counts.count(error)
            raise
        else:
            self.counts.count(execution)
            return execution
        finally:
            if not self.counts.queued and not self.counts.running:
                self._hide_line()

    def limits_for(self, task: TaskSpec) -> Limits:
        """The limits of a program of `task` if `run` gets none: those of the sandbox behind the pool."""
        return self.sandbox.limits_for(task)

    def take_metrics(self) -> dict[str, float]:
        """Metric -> value since the last call: programs retried, by status and by class of fault, seconds in the queue,
        and what the sandbox itself measures."""
        taken = self._metrics.take()
        taken["sandbox/places"] = float(self.places)
        taken["sandbox/circuit_open"] = float(self.circuit.is_open)
        return taken | getattr(self.sandbox, "take_metrics", dict)()

    async def _try(
        self,
        code: str,
        task: TaskSpec,
        limits: Limits | None,
        source: str | None,
        group: Hashable,
        deadline: float | None,
    ) -> Execution:
        """Wait for a place and give the program to the sandbox once."""
        turn = await self._place(group, deadline)
        shown = {"source": source} if self._shows_source and source is not None else {}
        try:
            call = asyncio.ensure_future(self.sandbox.run(code, task, limits, **shown))
        except BaseException as error:  # no coroutine: a sandbox with other arguments
            self._leave(turn, error)
            raise
        # The place is free when the sandbox has let go, which may be later than this method ends.
        call.add_done_callback(partial(self._ended, turn))
        longest_s = self._longest_s(task, limits)
        try:
            await asyncio.wait({call}, timeout=longest_s)
        except asyncio.CancelledError:
            await self._let_go(call)
            raise
        if call.cancelled():  # which this method did not ask for; as a cancellation it would end the caller
            raise PoolFaultError("the sandbox has cancelled the call by itself", "bug", may_have_started=True)
        if call.done():
            return call.result()
        late = PoolFaultError(
            f"the sandbox did not answer within {longest_s:g} s, which is `slack_s`={self.config.slack_s:g} more than the "
            "program may run",
            "no_answer",
            may_have_started=True,
        )
        self._tell_circuit(turn, late)
        await self._let_go(call)
        raise late

    async def _let_go(self, call: asyncio.Future[Execution]) -> None:
        """Cancel a call, and wait for its end for as long as `cancel_s`."""
        call.cancel()
        await asyncio.wait({call}, timeout=self.config.cancel_s)
        if not call.done():
            self.counts.abandoned += 1
            _logger.warning(
                "The sandbox did not stop a program within %g s; its place stays taken", self.config.cancel_s
            )

    async def _place(self, group: Hashable, deadline: float | None) -> _Turn:
        """Wait for a place."""
        if self._closed:
            raise PoolFaultError("the pool was closed", "closed", may_have_started=False)
        loop = asyncio.get_running_loop()
        place: asyncio.Future[_Turn] = loop.create_future()
        began = loop.time()
        self._queue.add(place, group)
        try:
            self._dispatch()
            async with asyncio.timeout_at(deadline):
                return await place
        except TimeoutError:
            self._return(place)
            raise PoolFaultError(
                f"the program waited for a place for more than `queue_s`={self.config.queue_s:g} seconds",
                "waited",
                may_have_started=False,
            ) from None
        except asyncio.CancelledError:
            self._return(place)
            raise
        finally:
            self._queue.discard(place)
            self._count_queue()
            self.counts.waits += 1
            self.counts.waited_s += loop.time() - began

    def _return(self, place: asyncio.Future[_Turn]) -> None:
        """Give back a place that came when nobody waited for it any more."""
        if place.done() and not place.cancelled() and place.exception() is None:
            self._leave(place.result(), asyncio.CancelledError())

    def _dispatch(self) -> None:
        """Give free places to those who wait, and see to it that this is looked at again."""
        while self._queue and self.counts.running < self.places and self._probe is None:
            probes = self.circuit.is_open
            if not self.circuit.admit():
                break
            place = self._queue.pop()
            if place.done():  # cancelled just now
                if probes:
                    self.circuit.release()
                continue
            turn = _Turn(probes)
            self._probe = turn if probes else None
            self.counts.running += 1
            place.set_result(turn)
        look_s = self._check_outage() if self.circuit.is_open and self._probe is None else _LOOK_S
        self._count_queue()
        self._stop_alarm()
        if self._queue:
            self._alarm = asyncio.get_running_loop().call_later(look_s, self._dispatch)

    def _check_outage(self) -> float:
        """Seconds until the next probe or the end of patience; past that, nobody waits any longer."""
        down_s = 0.0 if self._down_since is None else self._clock() - self._down_since
        left_s = self.config.outage_s - down_s
        if left_s <= 0:
            self._give_up(f"the sandbox has been down for more than `outage_s`={self.config.outage_s:g} s", "outage")
        return max(_SOON_S, min(left_s, self.circuit.wait_s))

    def _ended(self, turn: _Turn, call: asyncio.Future[Execution]) -> None:
        self._leave(turn, asyncio.CancelledError() if call.cancelled() else call.exception())

    def _leave(self, turn: _Turn, error: BaseException | None) -> None:
        self.counts.running -= 1
        self._tell_circuit(turn, error)
        self._dispatch()

    def _tell_circuit(self, turn: _Turn, error: BaseException | None) -> None:
        """Tell the circuit, once for each turn, what became of it."""
        if turn.told:
            return
        turn.told = True
        if turn is self._probe:
            self._probe = None
        if error is None:
            self.circuit.succeeded()
            self._down_since = self._probe = None  # nobody waits for a probe any more
        elif isinstance(error, (asyncio.CancelledError, UserError)):  # which say nothing about the sandbox
            if turn.probes:
                self.circuit.release()
        elif turn.probes or not self.circuit.is_open:
            self.circuit.failed(str(error) or type(error).__name__)
            if self.circuit.is_open and self._down_since is None:
                self._down_since = self._clock()

    def _give_up(self, words: str, kind: str) -> None:
        for place in self._queue:
            self._queue.discard(place)
            if not place.done():
                place.set_exception(PoolFaultError(words, kind, may_have_started=False))

    def _before_retry(self, state: RetryCallState) -> None:
        self.counts.retried += 1
        error = state.outcome.exception() if state.outcome else None
        _logger.warning("A program that has not started is tried again: %s", error)

    def _count_queue(self) -> None:
        self.counts.queued = len(self._queue)
        self.counts.longest_queue = max(self.counts.longest_queue, self.counts.queued)

    def _longest_s(self, task: TaskSpec, limits: Limits | None) -> float:
        own = getattr(getattr(self.sandbox, "config", None), "wall_s", None)
        wall_s = limits.wall_s if limits is not None else own or task.time_limit_s
        return wall_s + self.config.slack_s

    def _stop_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _show_line(self) -> None:
        if self._line.shown and self._line_alarm is None:
            self._line_alarm = asyncio.get_running_loop().call_later(_LINE_AFTER_S, self._line.start)

    def _hide_line(self) -> None:
        if self._line_alarm is not None:
            self._line_alarm.cancel()
            self._line_alarm = None
        self._line.stop()
