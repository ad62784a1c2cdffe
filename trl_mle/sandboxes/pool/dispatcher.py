"""Which program uses the sandbox next: leases for the programs that wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable

from trl_mle.config import PoolConfig
from trl_mle.sandboxes.pool.counts import Counts, PoolFaultError
from trl_mle.sandboxes.pool.fair_queue import FairQueue
from trl_mle.sandboxes.pool.health import Health, Lease
from trl_mle.sandboxes.pool.timing import PoolTiming


class Dispatcher:
    """Hands out leases: at most `capacity()` at the same time, round-robin over groups, probes only during an outage.

    Args:
        capacity (`Callable[[], int]`):
            Number of programs that may use the sandbox at the same time now.
        health ([`Health`]):
            Decides whether the sandbox may be used at all.
        counts ([`Counts`]):
            `queued`, `running`, `waits` and `waited_s` are kept there.
        config ([`PoolConfig`]):
            `queue_s` and `outage_s`, for the messages.
        timing ([`PoolTiming`]):
            How often a queue looks again.
    """

    def __init__(
        self, capacity: Callable[[], int], health: Health, counts: Counts, config: PoolConfig, timing: PoolTiming
    ):
        self._capacity = capacity
        self._health = health
        self._counts = counts
        self._config = config
        self._timing = timing
        self._queue: FairQueue[asyncio.Future[Lease]] = FairQueue()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    async def acquire(self, group: Hashable, deadline: float | None) -> Lease:
        """Wait for a lease. It has to be released.

        Args:
            group (hashable):
                Groups are served round-robin.
            deadline (`float`, *optional*):
                When to give up, on the clock of the event loop.

        Raises:
            PoolFaultError: the deadline has passed, the outage is hopeless or the pool was closed.
        """
        if self._closed:
            raise PoolFaultError("the pool was closed", "closed", may_have_started=False)
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Lease] = loop.create_future()
        began = loop.time()
        self._queue.add(waiter, group)
        try:
            self._dispatch()
            async with asyncio.timeout_at(deadline):
                return await waiter
        except TimeoutError:
            self._return(waiter)
            raise PoolFaultError(
                f"the program waited for more than `queue_s`={self._config.queue_s:g} seconds",
                "waited",
                may_have_started=False,
            ) from None
        except asyncio.CancelledError:
            self._return(waiter)
            raise
        finally:
            self._queue.discard(waiter)
            self._count_queue()
            self._counts.waits += 1
            self._counts.waited_s += loop.time() - began

    def release(self, lease: Lease, error: BaseException | None) -> None:
        """End the use of `lease`, which ended in `error` or, with `None`, in an `Execution`."""
        self._counts.running -= 1
        self._health.report(lease, error)
        self._dispatch()

    def open(self) -> None:
        """Accept programs, also again after `close`."""
        self._closed = False

    def close(self) -> None:
        """Refuse the programs that wait and all later ones. Programs with a lease go on."""
        self._closed = True
        self._refuse_all("the pool was closed while the program waited in the queue", "closed")
        self._stop_timer()

    def _return(self, waiter: asyncio.Future[Lease]) -> None:
        """Give back a lease that came in the same moment in which its program stopped waiting."""
        if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
            self.release(waiter.result(), asyncio.CancelledError())

    def _dispatch(self) -> None:
        """Give leases to the programs that wait, as many as possible, and have this repeated while others wait."""
        while self._queue and self._counts.running < self._capacity():
            lease = self._health.lease()
            if lease is None:
                break
            waiter = self._queue.pop()
            # Cancelled, but its task has not run since then, so that it is still in the queue.
            if waiter.done():
                self._health.report(lease, asyncio.CancelledError())
                continue
            self._counts.running += 1
            waiter.set_result(lease)
        # All at once: no program could succeed, and longer waiting would hold up the training.
        if self._health.is_hopeless:
            message = f"the sandbox has been down for more than `outage_s`={self._config.outage_s:g} s"
            self._refuse_all(message, "outage")
        self._count_queue()
        self._start_timer()

    def _start_timer(self) -> None:
        """Look again later, because nothing else reports new workers or the end of a cool-down."""
        self._stop_timer()
        if not self._queue:
            return
        look_s = self._timing.look_s
        # While a probe is under way its end dispatches, and the timer only notices new workers.
        if self._health.is_down and not self._health.is_probing:
            look_s = max(self._timing.soonest_look_s, self._health.wait_s)
        self._timer = asyncio.get_running_loop().call_later(look_s, self._dispatch)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse_all(self, message: str, kind: str) -> None:
        for waiter in self._queue:
            self._queue.discard(waiter)
            if not waiter.done():
                waiter.set_exception(PoolFaultError(message, kind, may_have_started=False))

    def _count_queue(self) -> None:
        self._counts.queued = len(self._queue)
        self._counts.longest_queue = max(self._counts.longest_queue, self._counts.queued)
