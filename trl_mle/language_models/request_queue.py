"""`RequestQueue`: sends requests to a service, with bounded concurrency, retries and a circuit breaker."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_random_exponential

from trl_mle.circuit_breaker import CircuitBreaker
from trl_mle.language_models.chat_endpoint import BackendError

Request = TypeVar("Request")
Reply = TypeVar("Reply")


@dataclass(frozen=True)
class ClientTiming:
    """Waiting times between the tries of one request."""

    first_backoff_s: float = 0.5
    """Longest pause before the first retry, in seconds; doubled for each further retry. The pause is drawn at random."""
    longest_backoff_s: float = 8.0
    """Longest random pause before any retry, in seconds."""
    longest_retry_after_s: float = 30.0
    """Longest pause that a server may ask for (`Retry-After`), in seconds."""


class RequestQueue(Generic[Request, Reply]):
    """Sends requests from any event loop: so many at a time, with retries, until the breaker opens.

    Args:
        send (callable):
            Sends one request and returns its reply, or raises [`BackendError`].
        breaker ([`CircuitBreaker`]):
            Circuit breaker of the service.
        counts (`Counter`):
            Counter to which `requests`, `request_errors` and `request_ms` are added.
        concurrency (`int`):
            Requests at the same time, per event loop.
        retries (`int`):
            Most repetitions of a failed request.
        timing ([`ClientTiming`], *optional*):
            Waiting times between tries.
    """

    def __init__(
        self,
        send: Callable[[Request], Awaitable[Reply]],
        breaker: CircuitBreaker,
        counts: Counter[str],
        *,
        concurrency: int,
        retries: int,
        timing: ClientTiming | None = None,
    ):
        self.send = send
        self.breaker = breaker
        self.counts = counts
        self.concurrency = concurrency
        self.retries = retries
        self.timing = timing or ClientTiming()
        self._backoff = wait_random_exponential(self.timing.first_backoff_s, self.timing.longest_backoff_s)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._slots = asyncio.Semaphore(concurrency)

    async def reply(self, request: Request) -> Reply:
        """The reply to `request`.

        Raises:
            BackendError: no try had a reply, or the breaker is open.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:  # a semaphore belongs to the loop that made it
            self._loop, self._slots = loop, asyncio.Semaphore(self.concurrency)
        async for attempt in AsyncRetrying(
            retry=retry_if_exception(self._is_worth_a_retry),
            stop=stop_after_attempt(1 + self.retries),
            wait=self._pause_s,
            reraise=True,
        ):
            with attempt:
                reply = await self._admitted(request)
        return reply

    def _is_worth_a_retry(self, error: BaseException) -> bool:
        return isinstance(error, BackendError) and error.retry and not self.breaker.is_open

    def _pause_s(self, state: RetryCallState) -> float:
        """Seconds until the next try: random and growing, and at least what the server asks for."""
        error = state.outcome.exception() if state.outcome is not None else None
        asked_s = getattr(error, "retry_after_s", None) or 0.0
        return max(self._backoff(state), min(asked_s, self.timing.longest_retry_after_s))

    async def _admitted(self, request: Request) -> Reply:
        """Send one request when a slot is free and the breaker admits it."""
        # Asked before the queue: behind an open breaker a request fails at once instead of after a wait.
        if self.breaker.is_open and not self.breaker.admit():
            raise BackendError("the endpoint is down", down=True)
        probing = self.breaker.is_open
        try:
            async with self._slots:
                if self.breaker.is_open and not probing:  # the breaker opened while this request queued
                    raise BackendError("the endpoint is down", down=True)
                return await self._counted(request)
        finally:
            if probing and self.breaker.is_open:
                self.breaker.release()  # a cancelled probe has reported nothing and would block the next one

    async def _counted(self, request: Request) -> Reply:
        started = time.monotonic()
        self.counts["requests"] += 1
        try:
            reply = await self.send(request)
        except BackendError as error:
            self.counts["request_errors"] += 1
            if error.down:
                self.breaker.failed(str(error), error.permanent)
            raise
        finally:
            self.counts["request_ms"] += round(1000 * (time.monotonic() - started))
        self.breaker.succeeded()
        return reply
