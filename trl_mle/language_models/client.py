"""`ModelClient`: asks a backend through a cache, a queue, retries, a time limit and a circuit breaker."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

from trl_mle.circuit_breaker import CircuitBreaker
from trl_mle.errors import InfrastructureError
from trl_mle.language_models.backends import Answer, Backend, BackendError, Message
from trl_mle.language_models.cache import AnswerCache, NoCache
from trl_mle.language_models.request_queue import ClientTiming, RequestQueue

__all__ = ["ClientTiming", "Failure", "ModelClient", "NoAnswerError"]

Failure = Literal["timeout", "unavailable", "refused"]


class NoAnswerError(InfrastructureError):
    """A question has no answer.

    Args:
        kind (`str`):
            `"timeout"`: no answer came within the time limit. `"unavailable"`: the endpoint is down, overloaded, or rejects
            the key or the model. `"refused"`: the endpoint rejected this one request (a 400: the conversation is longer
            than the model's context).
        message (`str`):
            What happened.
        permanent (`bool`, *optional*, defaults to `False`):
            Whether the same holds until somebody changes a setting.
    """

    def __init__(self, kind: Failure, message: str, *, permanent: bool = False):
        super().__init__(message)
        self.kind: Failure = kind
        self.permanent = permanent


@dataclass
class _Flight:
    """A question whose answer is on its way."""

    task: asyncio.Task[Answer]
    waiting: int = 0
    """Callers that wait for the answer."""


class ModelClient:
    """Asks a backend any conversation, from any event loop.

    `ask` returns or raises within `wait_s` seconds, whatever the endpoint does. Equal questions that arrive while the first
    one is being answered share its answer.

    Args:
        backend ([`Backend`]):
            Model that answers.
        cache ([`AnswerCache`], *optional*):
            Store of answers. Defaults to none.
        breaker ([`CircuitBreaker`], *optional*):
            Circuit breaker of the backend, which several clients may share. Defaults to one that probes every 30 s.
        counts (`Counter`, *optional*):
            Counter to which `requests`, `request_errors`, `cache_hits`, `joined` and `request_ms` are added. Defaults to a
            new one.
        concurrency (`int`, *optional*, defaults to `16`):
            Requests at the same time, per event loop.
        retries (`int`, *optional*, defaults to `2`):
            Most repetitions of a failed request.
        wait_s (`float`, *optional*, defaults to `120.0`):
            Time limit of a question in seconds, with queue and retries.
        max_answer_chars (`int`, *optional*):
            Length in characters beyond which an answer counts as truncated and its text is dropped. Defaults to no limit.
        timing ([`ClientTiming`], *optional*):
            Waiting times between tries.
    """

    def __init__(
        self,
        backend: Backend,
        cache: AnswerCache | None = None,
        breaker: CircuitBreaker | None = None,
        counts: Counter[str] | None = None,
        *,
        concurrency: int = 16,
        retries: int = 2,
        wait_s: float = 120.0,
        max_answer_chars: int | None = None,
        timing: ClientTiming | None = None,
    ):
        self.backend = backend
        self.cache: AnswerCache = NoCache() if cache is None else cache
        self.breaker = (
            breaker if breaker is not None else CircuitBreaker(f"The language model {backend.model!r}", 30.0)
        )
        self.counts: Counter[str] = counts if counts is not None else Counter()
        self.wait_s = wait_s
        self.max_answer_chars = max_answer_chars
        self._queue: RequestQueue[Sequence[Message], Answer] = RequestQueue(
            # By name at each call: whoever replaces the backend replaces it for every later question.
            lambda messages: self.backend.complete(messages),
            self.breaker,
            self.counts,
            concurrency=concurrency,
            retries=retries,
            timing=timing,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._flights: dict[Hashable, _Flight] = {}

    async def ask(self, messages: Sequence[Message], key: str | None = None) -> Answer:
        """The model's answer to `messages`.

        Args:
            messages (sequence of [`Message`]):
                The conversation so far.
            key (`str`, *optional*):
                Cache key of the question, made by [`cache_key`]. Without a key the answer is neither cached nor shared with
                equal questions, as for a model that samples.

        Raises:
            NoAnswerError: the question has no answer; its `kind` says why.
        """
        self._use_running_loop()
        flights, flight_key = self._flights, object() if key is None else key
        flight = flights.get(flight_key)
        if flight is None:
            flight = flights[flight_key] = _Flight(asyncio.create_task(self._answer(key, messages)))
        else:
            self.counts["joined"] += 1
        flight.waiting += 1
        try:
            # A caller that is cancelled or out of time must not cancel the request that others wait for.
            async with asyncio.timeout(self.wait_s):
                return await asyncio.shield(flight.task)
        except TimeoutError:
            raise NoAnswerError("timeout", f"no answer within {self.wait_s:g} s") from None
        except BackendError as error:
            kind: Failure = "unavailable" if error.down or error.retry else "refused"
            raise NoAnswerError(kind, str(error), permanent=error.permanent) from None
        finally:
            flight.waiting -= 1
            if not flight.waiting:
                flight.task.cancel()  # the last caller has left; a task that is done stays done
                if flights.get(flight_key) is flight:
                    del flights[flight_key]

    async def aclose(self) -> None:
        """Release the backend's connections."""
        await self.backend.aclose()

    def _use_running_loop(self) -> None:
        """Start afresh in another event loop: tasks belong to the loop that made them."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop = loop
            self._flights = {}

    async def _answer(self, key: str | None, messages: Sequence[Message]) -> Answer:
        cached = await asyncio.to_thread(self.cache.get, key) if key is not None else None
        if cached is not None:
            self.counts["cache_hits"] += 1
            return cached
        answer = await self._queue.reply(messages)
        if self.max_answer_chars is not None and len(answer.text) > self.max_answer_chars:
            answer = Answer("", truncated=True)
        if key is not None:
            await asyncio.to_thread(self.cache.put, key, answer)
        return answer
