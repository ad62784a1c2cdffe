"""EndpointPolicy against a server on the loopback: choices, tokens, faults."""

from __future__ import annotations

import json

import pytest

from tests.support.openai_server import body, completion, reset, serve, status
from trl_mle.language_models.client import NoAnswerError
from trl_mle.language_models.request_queue import ClientTiming
from trl_mle.language_models.sampling import Prices, open_policy

MESSAGES = [{"role": "user", "content": "Solve it."}]
SETTINGS = {"temperature": 0.7, "top_p": 0.9, "max_tokens": 50, "seed": 5}
FAST = ClientTiming(0.01, 0.02)


def choices(*texts, usage=None, finish="stop", **fields):
    items = [
        {"index": index, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
        for index, text in enumerate(texts)
    ]
    return body(json.dumps({"choices": items, "usage": usage, **fields}).encode())


async def sampled(url, n, **options):
    policy = open_policy("m", endpoint=url, timing=FAST, **options)
    try:
        return await policy.sample(MESSAGES, n, **SETTINGS)
    finally:
        await policy.aclose()


async def test_several_choices_are_one_request_and_share_its_tokens():
    with serve(choices("a", "b", "c", usage={"prompt_tokens": 10, "completion_tokens": 8})) as (url, server):
        samples = await sampled(url, 3, prices=Prices(1.0, 2.0))
    assert [sample.text for sample in samples] == ["a", "b", "c"]
    assert [sample.tokens for sample in samples] == [3, 3, 2]
    assert [sample.prompt_tokens for sample in samples] == [4, 3, 3]
    assert sum(sample.cost for sample in samples) == pytest.approx((10 * 1.0 + 8 * 2.0) / 1e6)
    (request,) = server.requests
    assert request["n"] == 3
    assert {name: request[name] for name in SETTINGS} == SETTINGS


async def test_tokens_of_several_choices_are_unknown_where_the_first_one_alone_is_counted():
    """So does the server of llama.cpp, whose answers have `timings`."""
    counts = {"prompt_tokens": 34, "completion_tokens": 40}
    with serve(choices("a", "b", usage=counts, timings={"predicted_n": 40})) as (url, _):
        assert [sample.tokens for sample in await sampled(url, 2)] == [None, None]
    with serve(choices("a", usage=counts, timings={"predicted_n": 40})) as (url, _):
        assert [sample.tokens for sample in await sampled(url, 1)] == [40]


async def test_a_choice_is_a_message_only_if_tools_were_given_and_a_senseless_count_is_none():
    """A message repeats the text, and would be a column of its own in tables of samples."""
    with serve(choices("\ud800", usage={"prompt_tokens": 3, "completion_tokens": 10**30})) as (url, _):
        (sample,) = await sampled(url, 1)
    assert (sample.text, sample.tokens, sample.prompt_tokens, sample.message) == ("\ud800", None, 3, None)


async def test_a_server_that_ignores_n_is_asked_for_the_others_one_by_one():
    with serve(completion("a")) as (url, server):
        policy = open_policy("m", endpoint=url)
        assert len(await policy.sample(MESSAGES, 3, **SETTINGS)) == 3
        assert [request.get("n") for request in server.requests] == [3, None, None]
        assert sorted(request["seed"] for request in server.requests) == [5, 6, 7]
        await policy.sample(MESSAGES, 2, **SETTINGS)
        assert [request.get("n") for request in server.requests[3:]] == [None, None]
        await policy.aclose()


async def test_a_server_that_refuses_n_is_asked_one_by_one():
    with serve(status(400), completion("a")) as (url, _):
        assert [sample.text for sample in await sampled(url, 2)] == ["a", "a"]


async def test_a_prompt_that_is_refused_by_itself_says_nothing_about_n():
    with serve(status(400), status(400), status(400), choices("a", "b")) as (url, server):
        policy = open_policy("m", endpoint=url, timing=FAST)
        with pytest.raises(NoAnswerError):
            await policy.sample(MESSAGES, 2, **SETTINGS)
        assert len(await policy.sample(MESSAGES, 2, **SETTINGS)) == 2
        await policy.aclose()
    assert [request.get("n") for request in server.requests] == [2, None, None, 2]


async def test_transport_errors_and_busy_servers_are_tried_again():
    replies = [reset, *map(status, (408, 409, 425, 429, 503)), completion("a")]
    with serve(*replies) as (url, server):
        assert [sample.text for sample in await sampled(url, 1, retries=6)] == ["a"]
    assert len(server.requests) == 7


@pytest.mark.parametrize(
    ("reply", "kind"), [(status(400), "refused"), (status(401), "unavailable"), (choices(), "unavailable")]
)
async def test_no_answer_is_an_infrastructure_error_that_says_why(reply, kind):
    with serve(reply) as (url, _), pytest.raises(NoAnswerError) as caught:
        await sampled(url, 1, retries=1)
    assert caught.value.kind == kind


async def test_a_refused_request_names_what_is_most_often_the_reason():
    with serve(status(400)) as (url, _), pytest.raises(NoAnswerError, match=r"HTTP 400: the prompt .* too long"):
        await sampled(url, 1)


async def test_a_choice_without_text_is_the_policys_own_empty_answer():
    with serve(choices(None, finish="length")) as (url, _):
        (sample,) = await sampled(url, 1)
    assert (sample.text, sample.truncated, sample.tokens) == ("", True, None)


async def test_fields_can_be_added_and_removed():
    with serve(completion("a")) as (url, server):
        await sampled(url, 1, extra={"max_tokens": None, "max_completion_tokens": 7, "top_k": 20, "seed": None})
    (request,) = server.requests
    assert request["max_completion_tokens"] == 7
    assert request["top_k"] == 20
    assert not {"max_tokens", "seed"} & set(request)


async def test_arguments_of_tool_calls_are_objects_here_and_text_on_the_wire():
    nested = f'{{"code": {"[" * 900}{"]" * 900}}}'
    written = ['{"code": "x"}', "{not json", '{"code": "\\ud800"}', nested]
    functions = [{"name": "run", "arguments": text} for text in written]
    calls = [{"id": str(number), "type": "function", "function": each} for number, each in enumerate(functions)]
    calls.append("no call")
    reply = {
        "choices": [{"index": 0, "message": {"content": None, "tool_calls": calls}, "finish_reason": "tool_calls"}]
    }
    tools = [{"type": "function", "function": {"name": "run"}}]
    with serve(body(json.dumps(reply).encode())) as (url, server):
        policy = open_policy("m", endpoint=url, timing=FAST)
        (sample,) = await policy.sample(MESSAGES, 1, **SETTINGS, tools=tools)
        arguments = [call["function"]["arguments"] for call in sample.message["tool_calls"]]
        assert arguments == [{"code": "x"}, "{not json", {"code": "?"}, nested]
        await policy.sample([*MESSAGES, sample.message], 1, **SETTINGS, tools=tools)
        await policy.aclose()
    assert server.requests[0]["tools"] == tools
    sent = server.requests[1]["messages"][-1]
    assert [call["function"]["arguments"] for call in sent["tool_calls"]] == [*written[:2], '{"code": "?"}', nested]
    assert [call["id"] for call in sent["tool_calls"]] == ["0", "1", "2", "3"]
