"""`SandboxPool`: the queue in front of a sandbox, with retries and deadlines."""

from __future__ import annotations

import asyncio
import logging
import time
import warnings
from collections.abc import Callable, Hashable, Mapping
from functools import partial

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt

from trl_mle.config import PoolConfig
from trl_mle.errors import ConfigError, SandboxUnavailableError
from trl_mle.sandboxes.base import Sandbox, UnknownWorkers, as_sandbox
from trl_mle.sandboxes.pool.counts import Counts, Metrics, PoolFaultError
from trl_mle.sandboxes.pool.dispatcher import Dispatcher
from trl_mle.sandboxes.pool.health import Health, Lease
from trl_mle.sandboxes.pool.progress_line import LiveLine
from trl_mle.sandboxes.pool.retries import has_not_started, retry_pause
from trl_mle.sandboxes.pool.timing import PoolTiming
from trl_mle.types import Execution, Limits, TaskSpec

_logger = logging.getLogger(__name__)


class SandboxPool:
    """A [`Sandbox`] that queues programs in front of another one: bounded concurrency, round-robin over groups, deadlines,
    safe retries.

    A program is retried only after a fault from before its start (`SandboxError.may_have_started` is `False`), so that no
    program ever runs twice. After many faults in a row the sandbox counts as down: programs wait, one at a time probes the
    sandbox after a cool-down, and a long outage ends the wait with a fault. Results come as programs end, in no order.

    Args:
        sandbox ([`Sandbox`]):
            Where programs run. The pool opens and closes it. The pool of a sandbox that is open already can be used without
            `async with`.
        config ([`PoolConfig`], *optional*):
            Concurrency, retries and deadlines.
        clock (`Callable[[], float]`, *optional*):
            Monotonic seconds, for outages.
        timing ([`PoolTiming`], *optional*):
            Durations that tests shorten.

    Example:

    ```python
    async with SandboxPool(RaySandbox(address="auto")) as pool:
        runs = [pool.run(code, task, group=prompt) for prompt, code in programs]
        executions = await asyncio.gather(*runs, return_exceptions=True)
    ```
    """

    def __init__(
        self,
        sandbox: Sandbox,
        config: PoolConfig | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        timing: PoolTiming = PoolTiming(),  # noqa: B008 - frozen
    ):
        # Two queues would both retry, and the inner one would hide the faults from the outer one's circuit breaker.
        if isinstance(sandbox, SandboxPool):
            raise ConfigError("`sandbox` is a `SandboxPool` already; give it as it is.")
        self.sandbox = as_sandbox(sandbox)
        self._name = type(sandbox).__name__
        self.config = PoolConfig() if config is None else config
        self.counts = Counts()
        """What became of the programs so far."""
        self.health = Health(f"The sandbox {self._name}", self.config, clock)
        """Whether the sandbox works."""
        self._timing = timing
        # A function and not a number, because the workers of a cluster come and go. A method and not a lambda, because the
        # asynchronous trainer sends its reward function to another process.
        self._dispatcher = Dispatcher(self._capacity, self.health, self.counts, self.config, timing)
        self._metrics = Metrics(self.counts)
        self._line = LiveLine(self.counts, self.config.progress)
        self._line_timer: asyncio.TimerHandle | None = None

    @property
    def workers(self) -> int:
        """Programs that may be with the sandbox at the same time: as many as it has workers, or fewer with `concurrency`."""
        workers, concurrency = self.sandbox.workers, self.config.concurrency
        if concurrency is None:
            # A Ray cluster may have lost all its nodes. One program then waits there, so that `node_wait_s` can end the wait.
            return max(1, workers)
        # What is more than its workers would wait in the sandbox, unfairly, and be given up as if it did not answer.
        return concurrency if isinstance(workers, UnknownWorkers) else min(concurrency, max(1, workers))

    @property
    def places(self) -> int:
        """The earlier name of `workers`."""
        warnings.warn("`SandboxPool.places` is called `workers`.", FutureWarning, stacklevel=2)
        return self.workers

    def _capacity(self) -> int:
        return self.workers

    def limits_for(self, task: TaskSpec) -> Limits:
        """The limits of a program of `task` if the caller gives none: those of the sandbox."""
        return self.sandbox.limits_for(task)

    def overhead_s(self, task: TaskSpec, limits: Limits) -> float:
        """Longest time in seconds that a program may spend in the sandbox beside its execution: that of the sandbox."""
        return self.sandbox.overhead_s(task, limits)

    def describe(self) -> str:
        """The sandbox behind the pool in text."""
        return self.sandbox.describe()

    def take_metrics(self) -> dict[str, float]:
        """Metric -> value since the last call: programs retried, programs by status and by class of fault, seconds in the
        queue, and the metrics of the sandbox itself."""
        metrics = self._metrics.take()
        metrics["sandbox/places"] = float(self.workers)
        metrics["sandbox/circuit_open"] = float(self.health.is_down)
        of_sandbox = self.sandbox.take_metrics()
        self.counts.removals_failed += int(of_sandbox.get("sandbox/removals_failed", 0))
        return metrics | of_sandbox

    async def __aenter__(self) -> SandboxPool:
        try:
            async with asyncio.timeout(self.config.open_s):
                await self.sandbox.__aenter__()
        except TimeoutError:
            raise SandboxUnavailableError(
                f"{self._name} was not open within `open_s`={self.config.open_s:g} seconds."
            ) from None
        self._dispatcher.open()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        # Before the sandbox closes: a program that ends meanwhile would hand its lease to one that waits.
        self._dispatcher.close()
        try:
            await self.sandbox.__aexit__(*exc_info)
        finally:
            self._hide_line()

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
        """Run `code` as soon as the queue reaches it; see [`Sandbox.run`].

        Args:
            group (hashable, *optional*):
                Groups are served round-robin, for example one group per prompt: a large group cannot delay the others.

        Raises:
            SandboxUnavailableError: the sandbox cannot work as configured.
            SandboxError: the sandbox failed, and the program must not be retried or `retries` are used up.
        """
        kept = dict(files) if files else None  # each try gets what this call was given
        # One deadline for all tries: `queue_s` limits how long the program waits in all.
        deadline = None if self.config.queue_s is None else asyncio.get_running_loop().time() + self.config.queue_s
        self._show_line()
        try:
            execution: Execution | None = None
            async for attempt in AsyncRetrying(
                retry=retry_if_exception(has_not_started),
                stop=stop_after_attempt(1 + self.config.retries),
                wait=retry_pause(self._timing),
                before_sleep=self._before_retry,
                reraise=True,
            ):
                with attempt:
                    execution = await self._try(code, task, limits, source, group, kept, deadline)
            assert execution is not None
        except asyncio.CancelledError:
            # Counted apart: a cancellation is neither a result of the program nor a fault of the sandbox.
            self.counts.cancelled += 1
            raise
        except Exception as error:
            self.counts.count(error)
            raise
        else:
            self.counts.count(execution)
            return execution
        finally:
            # The last program hides the line, so that it does not stay beside the trainer's own output.
            if not self.counts.queued and not self.counts.running:
                self._hide_line()

    async def _try(
        self,
        code: str,
        task: TaskSpec,
        limits: Limits | None,
        source: str | None,
        group: Hashable,
        files: Mapping[str, bytes] | None,
        deadline: float | None,
    ) -> Execution:
        """Wait for a lease and give the program to the sandbox once."""
        lease = await self._dispatcher.acquire(group, deadline)
        try:
            in_force = limits or self.limits_for(task)
            longest_s = in_force.wall_s + self.sandbox.overhead_s(task, in_force) + self.config.slack_s
            run = self.sandbox.run(code, task, limits, source=source, group=group, files=files)
            call = asyncio.ensure_future(run)
        except BaseException as error:
            # There is no call whose end would release the lease, for example because `run` takes other arguments.
            self._dispatcher.release(lease, error)
            raise
        # The lease ends with the call. After a cancellation or a time-out that may be later than the end of this method.
        call.add_done_callback(partial(self._ended, lease))
        try:
            # `wait` instead of `wait_for`: it leaves the call alone, so that `_let_go` can bound the wait for its end.
            await asyncio.wait({call}, timeout=longest_s)
        except asyncio.CancelledError:
            await self._let_go(call)
            raise
        if call.cancelled():
            # The sandbox cancelled the call by itself. Re-raised, the cancellation would end the caller.
            raise PoolFaultError("the sandbox has cancelled the call by itself", "bug", may_have_started=True)
        if call.done():
            return call.result()
        fault = PoolFaultError(
            f"the sandbox did not answer within {longest_s:g} s, which is `slack_s`={self.config.slack_s:g} more than the "
            "program may run and the sandbox may take",
            "no_answer",
            may_have_started=True,
        )
        # Reported before the call ends: the end may take long, and as a cancellation it would say nothing.
        self.health.report(lease, fault)
        await self._let_go(call)
        raise fault

    async def _let_go(self, call: asyncio.Future[Execution]) -> None:
        """Cancel a call, and wait for its end for as long as `cancel_s`."""
        call.cancel()
        await asyncio.wait({call}, timeout=self.config.cancel_s)
        # Its lease stays taken, because the program may still use the worker.
        if not call.done():
            self.counts.abandoned += 1
            _logger.warning(
                "The sandbox did not stop a program within %g s; its lease stays taken", self.config.cancel_s
            )

    def _ended(self, lease: Lease, call: asyncio.Future[Execution]) -> None:
        self._dispatcher.release(lease, asyncio.CancelledError() if call.cancelled() else call.exception())

    def _before_retry(self, state: RetryCallState) -> None:
        self.counts.retried += 1
        error = state.outcome.exception() if state.outcome else None
        _logger.warning("A program that has not started is tried again: %s", error)

    def _show_line(self) -> None:
        # Delayed: a program that ends at once should not make the terminal flicker.
        if self._line.shown and self._line_timer is None:
            loop = asyncio.get_running_loop()
            self._line_timer = loop.call_later(self._timing.line_after_s, self._line.start)

    def _hide_line(self) -> None:
        if self._line_timer is not None:
            self._line_timer.cancel()
            self._line_timer = None
        self._line.stop()
