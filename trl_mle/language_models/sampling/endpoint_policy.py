"""`EndpointPolicy`: samples of a model behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from trl_mle.circuit_breaker import CircuitBreaker
from trl_mle.config.base import URL
from trl_mle.errors import ConfigError
from trl_mle.language_models.backends import MAX_RESPONSE_BYTES
from trl_mle.language_models.chat_endpoint import BackendError, ChatEndpoint
from trl_mle.language_models.client import Failure, NoAnswerError
from trl_mle.language_models.request_queue import ClientTiming, RequestQueue
from trl_mle.language_models.sampling.policy import SEEDS, Prices, Sample
from trl_mle.language_models.sampling.tool_calls import plain

MOST_TOKENS = 2**53
"""A count of tokens from here on is no count, and would not fit into a column of a table."""


class EndpointPolicy:
    """A policy behind an OpenAI-compatible endpoint: vLLM, SGLang, llama.cpp, or a hosted model.

    Several samples of a prompt are one request with `n`. A server that answers with fewer choices, or refuses `n`, is asked once
    per sample from then on.

    Args:
        model (`str`):
            Name of the model at the endpoint.
        url (`str`):
            Base URL, such as `http://127.0.0.1:8000/v1`.
        api_key_variable (`str`, *optional*, defaults to `"OPENAI_API_KEY"`):
            Environment variable that holds the key.
        concurrency (`int`, *optional*, defaults to `16`):
            Requests at the same time.
        timeout_s (`float`, *optional*, defaults to `600.0`):
            Time limit of one request in seconds.
        retries (`int`, *optional*, defaults to `4`):
            Retries of a request after a transport error, a 408, 409, 425, 429 or 5xx.
        prices ([`Prices`], *optional*):
            Prices of tokens.
        samples_per_request (`int`, *optional*, defaults to `8`):
            Largest `n` of a request.
        extra (mapping, *optional*):
            Fields that are added to each request. `None` removes a field: `{"max_tokens": None, "max_completion_tokens": 4096}`.
        timing ([`ClientTiming`], *optional*):
            Waiting times between tries.

    Raises:
        UserError: `openai` is not installed.
        ConfigError: the URL has a user or password, or the named variable is not set.
    """

    def __init__(
        self,
        model: str,
        url: str,
        *,
        api_key_variable: str = "OPENAI_API_KEY",
        concurrency: int = 16,
        timeout_s: float = 600.0,
        retries: int = 4,
        prices: Prices | None = None,
        samples_per_request: int = 8,
        extra: Mapping[str, Any] | None = None,
        timing: ClientTiming | None = None,
    ):
        if re.fullmatch(URL, url) is None:  # it may hold a password: not shown
            raise ConfigError(
                f"The endpoint of {model!r} must be a URL such as 'http://127.0.0.1:8000/v1', without user or password (keys "
                "belong in the environment)."
            )
        if concurrency < 1 or samples_per_request < 1 or retries < 0 or not timeout_s > 0:
            raise ConfigError(
                f"The endpoint policy {model!r} has concurrency {concurrency}, {samples_per_request} samples per request, "
                f"{retries} retries and a time limit of {timeout_s} s; the first two must be 1 or more, the retries 0 or more."
            )
        self.model = model
        self.samples_per_request = samples_per_request
        self.prices = prices
        self.extra = dict(extra or {})
        self.counts: Counter[str] = Counter()
        self.endpoint = ChatEndpoint(url, api_key_variable, timeout_s)
        self.breaker = CircuitBreaker(f"The policy {model!r} at {url}", 10.0)
        self._takes_n = True
        self._queue: RequestQueue[dict[str, Any], tuple[bytes, float]] = RequestQueue(
            self._post, self.breaker, self.counts, concurrency=concurrency, retries=retries, timing=timing
        )

    async def sample(
        self,
        messages: Sequence[Mapping[str, Any]],
        n: int,
        *,
        temperature: float,
        top_p: float,
        max_tokens: int,
        seed: int,
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> list[Sample]:
        """See [`Policy`]."""
        request: dict[str, Any] = {
            "model": self.model,
            "messages": [_as_sent(message) for message in messages],
            "max_tokens": max_tokens,
            "temperature": temperature,
            "top_p": top_p,
            "seed": seed,
            "tools": None if tools is None else list(tools),
        }
        request = {name: value for name, value in (request | self.extra).items() if value is not None}
        samples: list[Sample] = []
        takes_n = True
        if n > 1 and self._takes_n:
            try:
                samples = await self._choices(request, n)
                takes_n = not samples or len(samples) >= n  # without any, the choices were too long together
            except NoAnswerError as error:
                if error.kind != "refused":  # some servers refuse any `n` above 1
                    raise
                takes_n = False
        missing = range(len(samples), n)
        each = await asyncio.gather(*(self._choices(self._reseeded(request, index), 1) for index in missing))
        # Decided only now: a prompt that is refused one by one as well says nothing about `n`.
        self._takes_n = self._takes_n and takes_n
        return [*samples, *(choice for choices in each for choice in choices)][:n]

    @staticmethod
    def _reseeded(request: dict[str, Any], index: int) -> dict[str, Any]:
        return request | {"seed": (request["seed"] + index) % SEEDS} if "seed" in request else request

    async def _choices(self, request: dict[str, Any], n: int) -> list[Sample]:
        """The choices of one request, at least one."""
        try:
            body, seconds = await self._queue.reply(request | ({"n": n} if n > 1 else {}))
            if len(body) > MAX_RESPONSE_BYTES * n:
                if n > 1:
                    return []  # asked for one by one, only the too long ones are lost
                return [Sample("", None, True, seconds)]
            return _samples(body, seconds, self.prices, with_messages="tools" in request)
        except BackendError as error:
            kind: Failure = "unavailable" if error.down or error.retry else "refused"
            raise NoAnswerError(kind, str(error), permanent=error.permanent) from None

    async def _post(self, request: dict[str, Any]) -> tuple[bytes, float]:
        started = time.monotonic()
        body = await self.endpoint.post(request, MAX_RESPONSE_BYTES * int(request.get("n", 1)))
        return body, time.monotonic() - started

    def count_tokens(self, messages: Sequence[Mapping[str, Any]]) -> int | None:
        """See [`Policy`]."""
        return None

    async def aclose(self) -> None:
        """See [`Policy`]."""
        await self.endpoint.aclose()


def _samples(body: bytes, seconds: float, prices: Prices | None, with_messages: bool) -> list[Sample]:
    """The samples of a response. A choice without text, such as a refusal, is an empty sample: the policy's own answer."""
    try:
        content = json.loads(body)
        choices = [(dict(choice["message"]), choice.get("finish_reason")) for choice in content["choices"]]
        usage = content.get("usage") or {}
        counts = [usage.get("prompt_tokens"), usage.get("completion_tokens")]
        if len(choices) > 1 and "timings" in content:
            counts[1] = None  # the server of llama.cpp counts the tokens of the first choice alone
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise BackendError("the response is no chat completion", down=True) from None
    if not choices:
        raise BackendError("the response holds no choice", down=True)
    prompt, completion = (_shares(count, len(choices)) for count in counts)
    return [
        Sample(
            text if isinstance(text := message.get("content"), str) else "",
            completion[index],
            finish == "length",
            seconds,
            prompt[index],
            prices.cost(prompt[index], completion[index]) if prices is not None else None,
            _as_read(message) if with_messages else None,
        )
        for index, (message, finish) in enumerate(choices)
    ]


def _as_read(message: Mapping[str, Any]) -> dict[str, Any]:
    """The policy's message with the arguments of its tool calls as objects; text that is no JSON object stays text."""
    content = message.get("content")
    read: dict[str, Any] = {"role": "assistant", "content": plain(content) if isinstance(content, str) else ""}
    calls = message.get("tool_calls")
    kept = [dict(call) for call in calls if isinstance(call, Mapping)] if isinstance(calls, list) else []
    for call in kept:
        function = dict(call["function"]) if isinstance(call.get("function"), Mapping) else {}
        call["function"] = function | {"arguments": _arguments(function.get("arguments"))}
    return read | ({"tool_calls": kept} if kept else {})


def _arguments(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    try:
        found = plain(json.loads(text or "{}"))
    except (ValueError, RecursionError):
        return text
    return found if isinstance(found, dict) else text


def _as_sent(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message with the arguments of its tool calls as text, as the protocol has them."""
    if not message.get("tool_calls"):
        return dict(message)
    calls = []
    for call in message["tool_calls"]:
        function = dict(call["function"])
        arguments = function.get("arguments")
        function["arguments"] = arguments if isinstance(arguments, str) else json.dumps(arguments)
        calls.append(dict(call) | {"function": function})
    return dict(message) | {"tool_calls": calls}


def _shares(count: Any, parts: int) -> list[int | None]:
    """`count` in `parts` whole numbers that add up to it; `None` each if it is no count."""
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count < MOST_TOKENS:
        return [None] * parts
    return [count // parts + (index < count % parts) for index in range(parts)]
