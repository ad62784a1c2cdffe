"""`ChatEndpoint`: posts requests to OpenAI's chat completions by the official client, and sorts its errors."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import Any

from trl_mle.errors import ConfigError, InfrastructureError, missing_extra

_HTTP_LIBRARIES = frozenset({"httpx", "httpx2", "httpcore", "httpcore2"})
_NO_KEY = "not-needed"
_ADVICE = {
    401: "set the environment variable {variable} to a valid key",
    403: "the key in {variable} may not use this model",
    404: "check that the endpoint serves a model of this name and that its URL ends in /v1",
}
_ABOUT_THE_REQUEST = "the prompt and `max_tokens` may be too long for the model's context, or it takes no such setting"
"""What another 4xx, such as 400, most often means. The server's own words may hold a key, and are not shown."""
_BUSY = frozenset({408, 409, 425, 429})
"""What a server or a gateway answers for the moment, whatever the request says: it was too slow, locked, or too busy."""
_BY_NAME = frozenset({"model", "messages", "max_tokens", "temperature", "top_p", "n", "seed", "tools"})
"""Fields of a request that the client takes as arguments. Others travel in `extra_body`."""


class BackendError(InfrastructureError):
    """A backend gave no answer.

    Args:
        message (`str`):
            What happened. It must not contain a key.
        retry (`bool`, *optional*, defaults to `False`):
            Whether the same request may succeed soon: after a transport error, a time-out, a 408, 409, 425, 429 or 5xx.
        down (`bool`, *optional*, defaults to `False`):
            Whether the endpoint or its settings are at fault, rather than this request.
        permanent (`bool`, *optional*, defaults to `False`):
            Whether the error lasts until somebody changes a setting: a wrong key, an unknown model.
        retry_after_s (`float`, *optional*):
            Seconds that the server asks to wait.
    """

    def __init__(
        self,
        message: str,
        *,
        retry: bool = False,
        down: bool = False,
        permanent: bool = False,
        retry_after_s: float | None = None,
    ):
        super().__init__(message)
        self.retry = retry
        self.down = down
        self.permanent = permanent
        self.retry_after_s = retry_after_s


class ChatEndpoint:
    """An OpenAI-compatible endpoint, which answers whole responses as bytes.

    Args:
        url (`str`):
            Base URL, such as `http://127.0.0.1:8001/v1`.
        api_key_variable (`str`):
            Environment variable that holds the key. Only `OPENAI_API_KEY` may be unset, for a server that needs no key.
        timeout_s (`float`):
            Time limit of a request in seconds, from its first to its last byte.

    Raises:
        UserError: `openai` is not installed.
        ConfigError: the named variable is not set.
    """

    def __init__(self, url: str, api_key_variable: str, timeout_s: float):
        try:
            import openai
        except ImportError as error:
            raise missing_extra("openai", "llm") from error
        key = os.environ.get(api_key_variable, "")
        if not key and api_key_variable != "OPENAI_API_KEY":
            raise ConfigError(f"`api_key_variable` is {api_key_variable!r}, but that environment variable is not set.")
        self.url = url
        self.timeout_s = timeout_s
        self._openai = openai
        self._variable = api_key_variable
        self._make_client = lambda: openai.AsyncOpenAI(
            base_url=url,
            api_key=key or _NO_KEY,
            timeout=timeout_s,
            max_retries=0,  # `RequestQueue` retries, so that retries are counted and bounded
        )
        self._client: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def post(self, request: Mapping[str, Any], max_bytes: int) -> bytes:
        """The body of the response to `request`, the fields of a chat completion.

        A body that is longer than `max_bytes` comes back cut off, with at least one byte more than that.

        Raises:
            BackendError: the endpoint has no answer.
        """
        try:
            # The client's own timeout starts again with every byte: a server that trickles would never reach it.
            async with asyncio.timeout(self.timeout_s):
                return await self._post(request, max_bytes)
        except (TimeoutError, self._openai.APITimeoutError):
            raise BackendError(f"no answer within {self.timeout_s:g} s", retry=True, down=True) from None
        except self._openai.APIStatusError as error:
            raise self._of_status(error.status_code, error.response.headers) from None
        except self._openai.APIConnectionError as error:
            raise BackendError(f"no connection ({_cause(error)})", retry=True, down=True) from None
        except self._openai.OpenAIError as error:
            raise BackendError(f"{type(error).__name__} from the client", down=True) from None
        except Exception as error:
            # A body is read as a stream, where the client lets errors of its HTTP library through.
            if type(error).__module__.split(".")[0] not in _HTTP_LIBRARIES:
                raise
            raise BackendError(f"the connection broke ({type(error).__name__})", retry=True, down=True) from None

    async def _post(self, request: Mapping[str, Any], max_bytes: int) -> bytes:
        if self._client is None or self._loop is not asyncio.get_running_loop():
            # Connections belong to an event loop: another loop needs another client.
            self._loop, self._client = asyncio.get_running_loop(), self._make_client()
        body = bytearray()
        named = {name: value for name, value in request.items() if name in _BY_NAME}
        others = {name: value for name, value in request.items() if name not in _BY_NAME}
        async with self._client.chat.completions.with_streaming_response.create(
            stream=False, extra_body=others or None, **named
        ) as response:
            async for part in response.iter_bytes():
                body += part
                if len(body) > max_bytes:
                    break
        return bytes(body)

    def _of_status(self, status: int, headers: Any) -> BackendError:
        message = f"HTTP {status}"
        if status in _ADVICE:
            message += f": {_ADVICE[status].format(variable=self._variable)}"
        elif status < 500 and status not in _BUSY:
            message += f": {_ABOUT_THE_REQUEST}"
        if status in _BUSY:  # the server is up, so this is no reason to open the breaker
            return BackendError(message, retry=True, retry_after_s=_seconds(headers.get("retry-after")))
        if status >= 500:
            return BackendError(message, retry=True, down=True, retry_after_s=_seconds(headers.get("retry-after")))
        # Key, permission and model name are the same in every request; any other 4xx is about this request alone.
        return BackendError(message, down=status in _ADVICE, permanent=status in _ADVICE)

    async def aclose(self) -> None:
        """Release connections. A second call does nothing."""
        client, self._client = self._client, None
        if client is not None and self._loop is asyncio.get_running_loop():  # connections of an ended loop are gone
            await client.close()


def _seconds(text: str | None) -> float | None:
    """`Retry-After` in seconds; `None` if the header is missing or holds a date."""
    try:
        return max(0.0, float(text)) if text is not None else None
    except ValueError:
        return None


def _cause(error: BaseException) -> str:
    return type(error.__cause__ or error).__name__
