"""One question, asked once: cache, queue, time limit, retries and the circuit around a backend."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_random_exponential

from trl_mle.circuit_breaker import Circuit
from trl_mle.instrumentation import fallbacks
from trl_mle.instrumentation.llm.answer import MAX_ANSWER_CHARS, Rejected
from trl_mle.instrumentation.llm.prompt import Message
from trl_mle.language_models.backends import Answer, Backend, BackendError
from trl_mle.language_models.cache import AnswerCache

_MOST_RETRY_AFTER_S = 30.0
_backoff = wait_random_exponential(multiplier=0.5, max=8.0)


class _Flight:
    """A question that is being answered, and how many wait for it."""

    def __init__(self, task: asyncio.Task[Answer]):
        self.task = task
        self.waiting = 0


class Asker:
    """Asks a backend for one event loop.

    Equal questions that come while the first is being answered wait for its answer. Nothing here takes longer than
    `wait_s` for one question, whatever the endpoint does.

    Args:
        backend ([`Backend`]):
            Who answers.
        cache ([`AnswerCache`]):
            Where answers are kept.
        circuit ([`Circuit`]):
            Whether the backend is worth asking.
        counts (`Counter`):
            Where `requests`, `request_errors`, `cache_hits` and `joined` are counted, and `request_ms` summed.
        concurrency (`int`):
            Requests at the same time.
        retries (`int`):
            How often a request is sent again.
        wait_s (`float`):
            Seconds that one question may wait, queue and retries included.
    """

    def __init__(
        self,
        backend: Backend,
        cache: AnswerCache,
        circuit: Circuit,
        counts: Counter[str],
        *,
        concurrency: int,
        retries: int,
        wait_s: float,
    ):
        self.backend = backend
        self.cache = cache
        self.circuit = circuit
        self.counts = counts
        self.retries = retries
        self.wait_s = wait_s
        self._slots = asyncio.Semaphore(concurrency)
        self._flights: dict[str, _Flight] = {}

    async def ask(self, key: str, messages: Sequence[Message]) -> Answer:
        """The answer to `messages`, whose cache key is `key`.

        Raises:
            Rejected: there is none; why.
        """
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight(asyncio.create_task(self._answer(key, messages)))
        else:
            self.counts["joined"] += 1
        flight.waiting += 1
        try:
            async with asyncio.timeout(self.wait_s):
                return await asyncio.shield(flight.task)
        except TimeoutError:
            raise Rejected(fallbacks.TIMEOUT, f"no answer within {self.wait_s:g} s") from None
        except BackendError as error:
            kind = fallbacks.UNAVAILABLE if error.down or error.retry else fallbacks.REFUSED
            raise Rejected(kind, str(error)) from None
        finally:
            flight.waiting -= 1
            if not flight.waiting:
                flight.task.cancel()  # nobody waits; no effect on a task that is done
                if self._flights.get(key) is flight:
                    del self._flights[key]

    async def _answer(self, key: str, messages: Sequence[Message]) -> Answer:
        kept = await asyncio.to_thread(self.cache.get, key)
        if kept is not None:
            self.counts["cache_hits"] += 1
            return kept
        async for attempt in AsyncRetrying(
            retry=retry_if_exception(self._is_worth_a_retry),
            stop=stop_after_attempt(1 + self.retries),
            wait=_wait,
            reraise=True,
        ):
            with attempt:
                answer = await self._request(messages)
        if len(answer.text) > MAX_ANSWER_CHARS:
            answer = Answer("", truncated=True)
        await asyncio.to_thread(self.cache.put, key, answer)
        return answer

    def _is_worth_a_retry(self, error: BaseException) -> bool:
        return isinstance(error, BackendError) and error.retry and not self.circuit.is_open

    async def _request(self, messages: Sequence[Message]) -> Answer:
        """One request; what becomes of it is told to the circuit."""
        if self.circuit.is_open and not self.circuit.admit():
            raise BackendError("the endpoint is down", down=True)  # without a place in the queue
        probing = self.circuit.is_open
        try:
            async with self._slots:
                if self.circuit.is_open and not probing:
                    raise BackendError("the endpoint is down", down=True)  # it went down while this one queued
                return await self._send(messages)
        finally:
            if probing and self.circuit.is_open:
                self.circuit.release()

    async def _send(self, messages: Sequence[Message]) -> Answer:
        started = time.monotonic()
        self.counts["requests"] += 1
        try:
            answer = await self.backend.complete(messages)
        except BackendError as error:
            self.counts["request_errors"] += 1
            if error.down:
                self.circuit.failed(str(error), error.permanent)
            raise
        finally:
            self.counts["request_ms"] += round(1000 * (time.monotonic() - started))
        self.circuit.succeeded()
        return answer


def _wait(state: RetryCallState) -> float:
    """Seconds until the next try: growing and random, and at least what the server asks for (up to 30)."""
    error = state.outcome.exception() if state.outcome is not None else None
    asked = getattr(error, "retry_after_s", None) or 0.0
    return max(_backoff(state), min(asked, _MOST_RETRY_AFTER_S))
