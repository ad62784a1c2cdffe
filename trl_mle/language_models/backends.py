"""Who answers: any server that speaks OpenAI's chat completions. (A model in this process: `training.frozen_model`.)"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from trl_mle.errors import ConfigError, InstrumentationError, missing_extra
from trl_mle.instrumentation.llm.prompt import Message

MAX_RESPONSE_BYTES = 1024**2
"""A response is read up to this many bytes."""
_HTTP_LIBRARIES = frozenset({"httpx", "httpx2", "httpcore", "httpcore2"})
_NO_KEY = "not-needed"
_ADVICE = {
    401: "set the environment variable {variable} to a valid key",
    403: "the key in {variable} may not use this model",
    404: "check `instrumenter_model` and that `instrumenter_endpoint` ends in /v1",
}


class Answer(NamedTuple):
    """What a model wrote."""

    text: str
    truncated: bool
    """Whether it was stopped before it was done."""


class BackendError(InstrumentationError):
    """No answer.

    Args:
        words (`str`):
            What happened; holds no key.
        retry (`bool`):
            Whether the same request may succeed soon: a transport error, a time-out, 429 or 5xx.
        down (`bool`):
            Whether this speaks against the endpoint (or its settings) rather than against this request.
        permanent (`bool`):
            Whether it lasts until somebody changes a setting: a wrong key, an unknown model.
        retry_after_s (`float`, *optional*):
            Seconds that the server asks to wait.
    """

    def __init__(
        self,
        words: str,
        *,
        retry: bool = False,
        down: bool = False,
        permanent: bool = False,
        retry_after_s: float | None = None,
    ):
        super().__init__(words)
        self.retry = retry
        self.down = down
        self.permanent = permanent
        self.retry_after_s = retry_after_s


class Backend(Protocol):
    """A frozen model that answers a conversation greedily."""

    model: str
    """Which model; part of the cache's key."""

    async def complete(self, messages: Sequence[Message]) -> Answer:
        """The model's next turn.

        Raises:
            BackendError: there is none.
        """
        ...

    async def aclose(self) -> None:
        """Give back connections. Safe to call twice."""
        ...


class OpenAIBackend:
    """A model behind an OpenAI-compatible endpoint (vLLM, llama.cpp, a hosted model), by the official client.

    Args:
        endpoint (`str`):
            Base URL, such as `http://127.0.0.1:8001/v1`.
        model (`str`):
            The model's name there.
        api_key_variable (`str`):
            Environment variable with the key. `OPENAI_API_KEY` may be missing (a server of one's own needs none).
        max_tokens (`int`):
            Longest answer in tokens.
        timeout_s (`float`):
            Seconds after which a request is given up, from its first to its last byte.

    Raises:
        UserError: `openai` is not installed.
        ConfigError: the named variable is not set.
    """

    def __init__(self, endpoint: str, model: str, api_key_variable: str, max_tokens: int, timeout_s: float):
        try:
            import openai
        except ImportError as error:
            raise missing_extra("openai", "llm") from error
        key = os.environ.get(api_key_variable, "")
        if not key and api_key_variable != "OPENAI_API_KEY":
            raise ConfigError(f"`api_key_variable` is {api_key_variable!r}, but that environment variable is not set.")
        self.model = model
        self.max_tokens = max_tokens
        self.timeout_s = timeout_s
        self._openai = openai
        self._variable = api_key_variable
        self._make_client = lambda: openai.AsyncOpenAI(
            base_url=endpoint,
            api_key=key or _NO_KEY,
            timeout=timeout_s,
            max_retries=0,  # retries are counted and bounded by `asking`
        )
        self._client: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def complete(self, messages: Sequence[Message]) -> Answer:
        """As in [`Backend`]."""
        try:
            async with asyncio.timeout(self.timeout_s):
                return _read(await self._post(messages))
        except (TimeoutError, self._openai.APITimeoutError):
            raise BackendError(f"no answer within {self.timeout_s:g} s", retry=True, down=True) from None
        except self._openai.APIStatusError as error:
            raise self._of_status(error.status_code, error.response.headers) from None
        except self._openai.APIConnectionError as error:
            raise BackendError(f"no connection ({_cause(error)})", retry=True, down=True) from None
        except self._openai.OpenAIError as error:
            raise BackendError(f"{type(error).__name__} from the client", down=True) from None
        except Exception as error:
            if type(error).__module__.split(".")[0] not in _HTTP_LIBRARIES:
                raise
            raise BackendError(f"the connection broke ({type(error).__name__})", retry=True, down=True) from None

    async def _post(self, messages: Sequence[Message]) -> bytes:
        """The body of the response, up to `MAX_RESPONSE_BYTES`."""
        if self._client is None or self._loop is not asyncio.get_running_loop():
            self._loop, self._client = asyncio.get_running_loop(), self._make_client()  # connections belong to a loop
        body = bytearray()
        request: dict[str, Any] = {"model": self.model, "messages": list(messages), "max_tokens": self.max_tokens}
        async with self._client.chat.completions.with_streaming_response.create(
            temperature=0.0, stream=False, **request
        ) as response:
            async for part in response.iter_bytes():
                body += part
                if len(body) > MAX_RESPONSE_BYTES:
                    break
        return bytes(body)

    def _of_status(self, status: int, headers: Any) -> BackendError:
        words = f"HTTP {status}"
        if status in _ADVICE:
            words += f": {_ADVICE[status].format(variable=self._variable)}"
        if status == 429:  # alive, and busy
            return BackendError(words, retry=True, retry_after_s=_seconds(headers.get("retry-after")))
        if status >= 500:
            return BackendError(words, retry=True, down=True, retry_after_s=_seconds(headers.get("retry-after")))
        return BackendError(words, down=status in _ADVICE, permanent=status in _ADVICE)

    async def aclose(self) -> None:
        """As in [`Backend`]."""
        client, self._client = self._client, None
        if client is not None and self._loop is asyncio.get_running_loop():
            await client.close()


def _read(body: bytes) -> Answer:
    if len(body) > MAX_RESPONSE_BYTES:
        return Answer("", truncated=True)
    try:
        choice = json.loads(body)["choices"][0]
        text, finished = choice["message"]["content"], choice.get("finish_reason")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        raise BackendError("the response is no chat completion", down=True) from None
    if not isinstance(text, str):
        raise BackendError("the response holds no text")
    return Answer(text, truncated=finished == "length")


def _seconds(text: str | None) -> float | None:
    """`Retry-After` in seconds; a date is not understood."""
    try:
        return max(0.0, float(text)) if text is not None else None
    except ValueError:
        return None


def _cause(error: BaseException) -> str:
    return type(error.__cause__ or error).__name__
