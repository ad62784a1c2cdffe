"""Backends that answer a conversation: the protocol, its records, and any server that speaks OpenAI's chat completions.

A model in this process is `transformers_backend.TransformersBackend`, in a module of its own because it imports torch.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol, TypedDict

from trl_mle.language_models.chat_endpoint import BackendError, ChatEndpoint

__all__ = ["Answer", "Backend", "BackendError", "Message", "OpenAIBackend"]

MAX_RESPONSE_BYTES = 1024**2
"""Bytes of a response that are read; a longer response counts as truncated."""


class Message(TypedDict):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class Answer(NamedTuple):
    """What a model wrote."""

    text: str
    truncated: bool
    """Whether the answer was cut off before the model ended it."""


class Backend(Protocol):
    """A frozen model that continues a conversation."""

    model: str
    """Name of the model, as it enters cache keys and warnings."""

    async def complete(self, messages: Sequence[Message]) -> Answer:
        """The model's next turn.

        Raises:
            BackendError: the backend has no answer.
        """
        ...

    async def aclose(self) -> None:
        """Release connections. A second call does nothing."""
        ...


class OpenAIBackend:
    """A model behind an OpenAI-compatible endpoint (vLLM, llama.cpp, a hosted model), by the official client.

    The model answers greedily (temperature 0).

    Args:
        endpoint (`str`):
            Base URL, such as `http://127.0.0.1:8001/v1`.
        model (`str`):
            Name of the model at the endpoint.
        api_key_variable (`str`):
            Environment variable that holds the key. Only `OPENAI_API_KEY` may be unset, for a server that needs no key.
        max_tokens (`int`):
            Longest answer, in tokens.
        timeout_s (`float`):
            Time limit of a request in seconds, from its first to its last byte.

    Raises:
        UserError: `openai` is not installed.
        ConfigError: the named variable is not set.
    """

    def __init__(self, endpoint: str, model: str, api_key_variable: str, max_tokens: int, timeout_s: float):
        self.model = model
        self.max_tokens = max_tokens
        self.endpoint = ChatEndpoint(endpoint, api_key_variable, timeout_s)

    async def complete(self, messages: Sequence[Message]) -> Answer:
        """See [`Backend`]."""
        request = {
            "model": self.model, "messages": list(messages), "max_tokens": self.max_tokens, "temperature": 0.0
        }  # fmt: skip
        return _read(await self.endpoint.post(request, MAX_RESPONSE_BYTES))

    async def aclose(self) -> None:
        """See [`Backend`]."""
        await self.endpoint.aclose()


def _read(body: bytes) -> Answer:
    if len(body) > MAX_RESPONSE_BYTES:
        return Answer("", truncated=True)
    try:
        choice = json.loads(body)["choices"][0]
        text, finish_reason = choice["message"]["content"], choice.get("finish_reason")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        raise BackendError("the response is no chat completion", down=True) from None
    if not isinstance(text, str):
        raise BackendError("the response holds no text")
    return Answer(text, truncated=finish_reason == "length")
