"""ModelClient: any conversation, one answer or one kind of error, within its time."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.support.hang import HANG_S
from trl_mle.circuit_breaker import FAILURES, CircuitBreaker
from trl_mle.language_models.backends import Answer, BackendError
from trl_mle.language_models.cache import cache_key
from trl_mle.language_models.client import ClientTiming, ModelClient, NoAnswerError

QUESTION = [{"role": "user", "content": "6 x 7?"}]
KEY = cache_key(QUESTION, "m")
FAST = ClientTiming(first_backoff_s=0.001, longest_backoff_s=0.001)


class Scripted:
    """A backend that gives `replies` one after another, the last one for ever."""

    model = "m"

    def __init__(self, *replies, pause_s=0.0):
        self.replies = list(replies) or [Answer("42", False)]
        self.pause_s = pause_s
        self.asked = []
        self.running = self.most_running = 0

    async def complete(self, messages):
        self.asked.append(messages)
        reply = self.replies[min(len(self.asked), len(self.replies)) - 1]
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await asyncio.sleep(self.pause_s)
        finally:
            self.running -= 1
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def aclose(self):
        self.closed = True


class Memory(dict):
    errors = 0

    def put(self, key, answer):
        self[key] = answer


async def test_a_question_is_answered_and_cached():
    backend, cache = Scripted(), Memory()
    client = ModelClient(backend, cache)
    assert await client.ask(QUESTION, KEY) == Answer("42", False)
    assert await client.ask(QUESTION, KEY) == Answer("42", False)
    assert backend.asked == [QUESTION]
    assert cache == {KEY: Answer("42", False)}
    assert (client.counts["requests"], client.counts["cache_hits"]) == (1, 1)
    await client.aclose()
    assert backend.closed


async def test_without_a_key_every_question_is_asked():
    backend, cache = Scripted(Answer("a", False), Answer("b", False)), Memory()
    client = ModelClient(backend, cache)
    assert {answer.text for answer in await asyncio.gather(client.ask(QUESTION), client.ask(QUESTION))} == {"a", "b"}
    assert not cache
    assert client.counts["joined"] == 0


async def test_equal_questions_share_one_request():
    backend = Scripted(pause_s=0.05)
    client = ModelClient(backend)
    answers = await asyncio.gather(*(client.ask(QUESTION, KEY) for _ in range(5)))
    assert answers == [Answer("42", False)] * 5
    assert len(backend.asked) == 1
    assert client.counts["joined"] == 4


async def test_the_number_of_requests_at_the_same_time_is_bounded():
    backend = Scripted(pause_s=0.01)
    client = ModelClient(backend, concurrency=3)
    await asyncio.gather(*(client.ask(QUESTION) for _ in range(10)))
    assert backend.most_running == 3


@pytest.mark.parametrize(
    ("error", "kind", "requests"),
    [
        (BackendError("HTTP 503", retry=True, down=True), "unavailable", 3),
        (BackendError("HTTP 429", retry=True), "unavailable", 3),
        (BackendError("HTTP 401", down=True, permanent=True), "unavailable", 1),
        (BackendError("HTTP 400"), "refused", 1),
    ],
)
async def test_a_fault_of_the_endpoint_has_a_kind(error, kind, requests):
    backend = Scripted(error)
    with pytest.raises(NoAnswerError, match=str(error)) as caught:
        await ModelClient(backend, timing=FAST).ask(QUESTION, KEY)
    assert caught.value.kind == kind
    assert len(backend.asked) == requests


async def test_a_question_that_takes_too_long_is_cancelled():
    backend = Scripted(pause_s=3600)
    started = time.monotonic()
    with pytest.raises(NoAnswerError, match=r"0\.1 s") as caught:
        await ModelClient(backend, wait_s=0.1).ask(QUESTION, KEY)
    assert caught.value.kind == "timeout"
    assert time.monotonic() - started < HANG_S
    await asyncio.sleep(0.05)
    assert backend.running == 0


async def test_a_server_decides_how_long_to_wait_up_to_a_limit():
    fault = BackendError("HTTP 429", retry=True, retry_after_s=0.2)
    started = time.monotonic()
    await ModelClient(Scripted(fault, Answer("42", False)), timing=FAST).ask(QUESTION)
    assert time.monotonic() - started >= 0.2
    patient = BackendError("HTTP 429", retry=True, retry_after_s=3600)
    timing = ClientTiming(first_backoff_s=0.001, longest_backoff_s=0.001, longest_retry_after_s=0.05)
    started = time.monotonic()
    await ModelClient(Scripted(patient, Answer("42", False)), timing=timing).ask(QUESTION)
    assert time.monotonic() - started < HANG_S


async def test_behind_an_open_breaker_nothing_is_sent():
    breaker = CircuitBreaker("The model", 60.0)
    for _ in range(FAILURES):
        breaker.failed("no connection")
    backend = Scripted()
    with pytest.raises(NoAnswerError, match="down"):
        await ModelClient(backend, breaker=breaker).ask(QUESTION)
    assert not backend.asked


async def test_an_answer_beyond_the_limit_counts_as_truncated():
    client = ModelClient(Scripted(Answer("x" * 11, False)), max_answer_chars=10)
    assert await client.ask(QUESTION) == Answer("", True)
    assert await ModelClient(Scripted(Answer("x" * 11, False))).ask(QUESTION) == Answer("x" * 11, False)


def test_a_client_serves_one_event_loop_after_another():
    client = ModelClient(Scripted(pause_s=0.01), concurrency=1)

    async def two():
        return await asyncio.gather(client.ask(QUESTION), client.ask(QUESTION))

    assert [asyncio.run(two()) for _ in range(2)] == [[Answer("42", False)] * 2] * 2
