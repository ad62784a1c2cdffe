"""LLMInstrumenter with the real client against a server on the loopback: no fault of the server stops training."""

from __future__ import annotations

import asyncio
import json
import logging
import time

import pytest

from tests.support.hang import HANG_S
from tests.support.openai_server import body, broken_body, completion, reset, serve, status
from trl_mle import LLMInstrumenter
from trl_mle.config import InstrumentationConfig
from trl_mle.errors import ConfigError, UserError
from trl_mle.instrumentation import ASTInstrumenter, new_nonce, verify_print_only
from trl_mle.language_models.client import ClientTiming
from trl_mle.types import Program

pytest.importorskip("openai")
pytest.importorskip("diskcache")

CODE = """import pandas as pd
from sklearn.linear_model import Ridge

train = pd.read_csv("input/train.csv")
model = Ridge()
model.fit(train[["a"]], train["y"])
"""
ANSWER = """imported_libraries: 2
loaded_data: 4
built_features: none
defined_model: 5
trained_model: 6
evaluated_model: none
wrote_predictions: none
training_loss: none
training_score: none
validation_score: none
"""


def instrumenter(url, **settings):
    settings = {"cache_dir": "none", "model": "m", "request_timeout_s": 30.0, "wait_s": HANG_S, **settings}
    return LLMInstrumenter(endpoint=url, timing=ClientTiming(longest_backoff_s=0.01), **settings)


def run(asked, *codes):
    """Instrument all `codes` at the same time."""

    async def all_of_them():
        try:
            calls = (asked.instrument(Program("", code), new_nonce()) for code in codes)
            return await asyncio.gather(*calls)
        finally:
            await asked.aclose()

    return asyncio.run(all_of_them())


def is_fallback(result, kind):
    own = ASTInstrumenter().instrument(result.program, result.nonce)
    assert (result.code, result.inserted) == (own.code, own.inserted)
    assert result.fallback_kind == kind, result.fallback_reason
    assert result.fallback_reason.startswith("llm: ")
    assert result.instrumenter == "llm"
    return True


def test_an_accepted_answer():
    with serve(completion(ANSWER)) as (url, server):
        (result,) = run(instrumenter(url), CODE)
    assert result.fallback_reason is None
    # The rules prove `built_features`, which the model denies.
    assert result.inserted == ("imported_libraries", "loaded_data", "built_features", "defined_model", "trained_model")
    assert verify_print_only(CODE, result.code, result.nonce).ok
    (request,) = server.requests
    assert request["temperature"] == 0
    assert request["max_tokens"] == 500
    assert request["model"] == "m"
    assert result.nonce not in json.dumps(request)
    assert "train = pd.read_csv" in request["messages"][-1]["content"]


def test_a_program_that_cannot_be_instrumented_is_not_asked_about():
    with serve(completion(ANSWER)) as (url, server):
        complex_one = f"{'a' * 300} = 1"
        results = run(
            instrumenter(url),
            "this is no program",
            "import sys\nsys.stdout.close()",
            "print('[[trl_mle:')",
            complex_one,
        )
    assert [result.fallback_kind for result in results] == ["not_parsed", "hazard", "has_marks", "too_complex"]
    assert not server.requests


@pytest.mark.parametrize(
    "fault",
    [status(429, Retry_After="0.05"), status(500), status(503), reset, broken_body],
    ids=["429", "500", "503", "reset", "broken body"],
)
def test_a_fault_that_passes_is_retried(fault):
    with serve(fault, completion(ANSWER)) as (url, server):
        (result,) = run(instrumenter(url), CODE)
    assert result.fallback_reason is None
    assert len(server.requests) == 2


def test_retry_after_is_honoured():
    with serve(status(429, Retry_After="0.6"), completion(ANSWER)) as (url, _):
        started = time.monotonic()
        (result,) = run(instrumenter(url), CODE)
    assert result.fallback_reason is None
    assert time.monotonic() - started > 0.6


@pytest.mark.parametrize(
    ("reply", "kind", "requests"),
    [
        (status(500), "llm_unavailable", 3),
        (status(429), "llm_unavailable", 3),
        (reset, "llm_unavailable", 3),
        (status(400), "llm_refused", 1),
        (status(422), "llm_refused", 1),
        (body(b"<html>not JSON"), "llm_unavailable", 1),
        (body(b"[" * 100_000), "llm_unavailable", 1),
        (body(b"3"), "llm_unavailable", 1),
        (completion(ANSWER, choices=[]), "llm_unavailable", 1),
        (completion(ANSWER, choices=None), "llm_unavailable", 1),
        (completion(None), "llm_refused", 1),
        (completion(ANSWER, finish_reason="length"), "llm_truncated", 1),
        (completion("a" * 1024 * 1024), "llm_truncated", 1),
        (completion("loaded_data: 4\n" * 6000), "llm_truncated", 1),
        (completion("Sure! Here is a poem."), "llm_not_an_answer", 1),
        (completion(""), "llm_nothing_proved", 1),
    ],
)
def test_a_fault_that_stays_falls_back(reply, kind, requests):
    with serve(reply) as (url, server):
        (result,) = run(instrumenter(url), CODE)
    assert is_fallback(result, kind)
    assert len(server.requests) == requests


def test_a_server_that_hangs_costs_a_bounded_time_once(caplog):
    with serve(completion(ANSWER)) as (url, server):
        server.replies = [server.hang]
        asked = instrumenter(url, request_timeout_s=0.3, concurrency=4)
        started = time.monotonic()
        results = run(asked, *(f"{CODE}x = {number}\n" for number in range(40)))
        assert time.monotonic() - started < HANG_S
        assert all(is_fallback(result, "llm_unavailable") for result in results)
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 1
    metrics = asked.take_metrics()
    # On a loaded machine the time of a request may be over before the server has read it.
    assert len(server.requests) <= metrics["instrumentation/request_errors"] <= 8
    assert asked.take_metrics()["instrumentation/requests"] == 0


def test_a_program_does_not_wait_longer_than_it_may():
    with serve(completion(ANSWER)) as (url, server):
        server.replies = [server.hang]
        started = time.monotonic()
        (result,) = run(instrumenter(url, request_timeout_s=3600.0, wait_s=0.4), CODE)
        assert time.monotonic() - started < HANG_S
    assert is_fallback(result, "llm_timeout")


def test_no_server_at_all():
    with serve(completion(ANSWER)) as (url, _):
        pass  # the port is closed again
    results = run(instrumenter(url), CODE, CODE + "x = 1\n")
    assert all(is_fallback(result, "llm_unavailable") for result in results)


@pytest.mark.parametrize(("code", "advice"), [(401, "OPENAI_API_KEY"), (403, "OPENAI_API_KEY"), (404, "/v1")])
def test_a_wrong_key_or_model_is_one_loud_line_with_advice(caplog, monkeypatch, code, advice):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    with serve(status(code)) as (url, server):
        results = run(instrumenter(url, concurrency=1), *(f"{CODE}x = {number}\n" for number in range(5)))
    assert all(is_fallback(result, "llm_unavailable") for result in results)
    assert len(server.requests) == 1
    (record,) = (record for record in caplog.records if record.levelno >= logging.WARNING)
    assert advice in record.getMessage()
    assert "\n" not in record.getMessage()
    assert "sk-secret" not in caplog.text
    assert not any("sk-secret" in (result.fallback_reason or "") for result in results)


def test_an_endpoint_that_comes_back_is_found(caplog):
    async def ask(probe_after_s, enough):
        """The results of one question after another until they are enough, and the number of requests."""
        with serve(status(401), completion(ANSWER)) as (url, server):
            asked, results = instrumenter(url, probe_after_s=probe_after_s), []
            async with asyncio.timeout(HANG_S):
                while not enough(results):
                    results.append(await asked.instrument(Program("", CODE), new_nonce()))
            await asked.aclose()
            return results, len(server.requests)

    results, requests = asyncio.run(ask(3600.0, lambda results: len(results) == 2))
    assert all(is_fallback(result, "llm_unavailable") for result in results)
    assert requests == 1, "before the probe"
    results, requests = asyncio.run(ask(0.1, lambda results: results and results[-1].fallback_reason is None))
    assert all(is_fallback(result, "llm_unavailable") for result in results[:-1])
    assert len(results) > 1
    assert requests == 2
    assert [record.levelno for record in caplog.records if "again" in record.getMessage()][-1] == logging.WARNING


def test_the_key_comes_from_the_named_variable(monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-mine")
    with serve(completion(ANSWER)) as (url, server):
        run(instrumenter(url, api_key_variable="MY_KEY"), CODE)
        assert server.keys == ["Bearer sk-mine"]
        monkeypatch.delenv("MY_KEY")
        with pytest.raises(ConfigError, match="MY_KEY"):
            instrumenter(url, api_key_variable="MY_KEY")
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        run(instrumenter(url), CODE)
    assert server.keys[1] == "Bearer not-needed"


def test_identical_programs_are_asked_once(tmp_path):
    with serve(completion(ANSWER)) as (url, server):
        asked = instrumenter(url, cache_dir=str(tmp_path))
        results = run(asked, *[CODE] * 16)
        assert all(result.fallback_reason is None for result in results)
        assert len({result.nonce for result in results}) == 16
        assert len(server.requests) == 1
        assert asked.take_metrics()["instrumentation/joined"] == 15
        again = instrumenter(url, cache_dir=str(tmp_path))  # another process, or the next epoch
        (result,) = run(again, CODE)
        assert result.inserted == results[0].inserted
        assert again.take_metrics()["instrumentation/cache_hits"] == 1
        assert len(server.requests) == 1
        run(instrumenter(url, cache_dir=str(tmp_path), model="other"), CODE)
        run(instrumenter(url, cache_dir=str(tmp_path), answer_format="rewrite"), CODE)
        assert len(server.requests) == 3


def test_one_instrumenter_serves_several_event_loops():
    with serve(completion(ANSWER)) as (url, server):
        asked = instrumenter(url)
        assert all(run(asked, CODE)[0].fallback_reason is None for _ in range(3))
    assert len(server.requests) == 3


async def test_the_asynchronous_method_of_the_protocol_is_the_same():
    with serve(completion(ANSWER)) as (url, _):
        llm, nonce = instrumenter(url), new_nonce()
        assert await llm.instrument_async(Program("", CODE), nonce) == await llm.instrument(Program("", CODE), nonce)
        await llm.aclose()


def test_who_gives_up_waiting_does_not_take_the_answer_from_others():
    with serve(completion(ANSWER)) as (url, server):
        slow = server.replies[0]
        server.replies = [lambda handler: (time.sleep(0.3), slow(handler))]
        asked = instrumenter(url)

        async def two():
            first = asyncio.create_task(asked.instrument(Program("", CODE), new_nonce()))
            second = asyncio.create_task(asked.instrument(Program("", CODE), new_nonce()))
            await asyncio.sleep(0.15)
            first.cancel()
            result = await second
            await asked.aclose()
            return result

        assert asyncio.run(two()).fallback_reason is None
    assert len(server.requests) == 1


def test_a_bug_of_ours_falls_back_and_is_seen(caplog):
    class Broken:
        model = "m"

        async def complete(self, messages):
            raise RuntimeError("a bug")

        async def aclose(self):
            return None

    (result,) = run(LLMInstrumenter(backend=Broken(), cache_dir="none"), CODE)
    assert is_fallback(result, "llm_error")
    assert "a bug" in caplog.text


def test_a_long_program_is_not_sent():
    with serve(completion(ANSWER)) as (url, server):
        (result,) = run(instrumenter(url), CODE + f"x = {'1' * 41_000!r}\n")
    assert is_fallback(result, "llm_too_long")
    assert not server.requests


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"instrumenter": "gpt"}, "'ast' or 'llm'"),
        ({"endpoint": "127.0.0.1:8001"}, "http://127.0.0.1:8001/v1"),
        ({"endpoint": "http://me:secret@host/v1"}, "without user or password"),
        ({"answer_format": "json"}, "'lines' or 'rewrite'"),
        ({"concurrency": 0}, "1 or more"),
        ({"retries": -1}, "0 or more"),
        ({"wait_s": 0.0}, "positive"),
        ({"model": ""}, "empty"),
        ({"max_tokens": 0}, "1 or more"),
    ],
)
def test_wrong_settings_name_the_fix(settings, message):
    with pytest.raises(ConfigError, match=message):
        InstrumentationConfig(**settings)


def test_a_key_in_place_of_its_variable_is_not_shown():
    with pytest.raises(ConfigError) as caught:
        InstrumentationConfig(api_key_variable="sk-proj-123")
    assert "sk-proj" not in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        InstrumentationConfig(endpoint="http://me:secret@host/v1")
    assert "secret" not in str(caught.value)


def test_what_an_instrumenter_needs_is_named(monkeypatch):
    with pytest.raises(ConfigError, match="endpoint"):
        LLMInstrumenter(cache_dir="none")
    with pytest.raises(ConfigError, match="both"):
        LLMInstrumenter(InstrumentationConfig(), model="m")
    with pytest.raises(UserError, match="Nonce"), serve(completion(ANSWER)) as (url, _):
        asyncio.run(instrumenter(url).instrument(Program("", CODE), "short"))
    import sys

    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(UserError, match=r"trl_mle\[llm\]"):
        LLMInstrumenter(endpoint="http://127.0.0.1:1/v1", cache_dir="none")
