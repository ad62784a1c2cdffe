"""Errors of the SDK as errors of this package. The failure of a program is never one of them."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from typing import Any

from trl_mle.errors import SandboxError, SandboxUnavailableError

KEY = "E2B_API_KEY"
"""Environment variable that holds the key. The SDK reads it. This package reads it only to remove it from messages."""


class VMGoneError(SandboxError):
    """The VM does not exist any more."""


class BusyError(SandboxError):
    """E2B refused a request for now (429, 503). The request had no effect."""


class RunnerError(SandboxError):
    """The runner inside a VM has failed. There will be no reply."""


@contextmanager
def explained(step: str, *, may_have_started: bool | None = False, of_account: bool = False) -> Iterator[None]:
    """Turn every error of the SDK that is raised inside into a `SandboxError`.

    Args:
        step (`str`):
            The step, as the beginning of the message "... failed".
        may_have_started (`bool`, *optional*, defaults to `False`):
            Whether the program may have started before the step. `None`: the step starts it, so the error decides.
        of_account (`bool`, *optional*, defaults to `False`):
            Whether the request goes to the API, with the key, and not to a VM.

    Raises:
        SandboxUnavailableError: the key, the template or a setting is refused; retrying does not help.
        SandboxError: anything else.
    """
    try:
        yield
    except SandboxError:
        raise
    except Exception as error:  # the SDK's errors have no common base, and its transport raises others
        # Without the cause, whose text may contain the key.
        raise _explain(error, step, may_have_started, of_account) from None


def missing_key() -> SandboxUnavailableError:
    """The error for an environment without the key."""
    return SandboxUnavailableError(
        f"The environment variable `{KEY}` is not set. Put the key of your E2B account into it; it is taken from nowhere "
        "else."
    )


def without_key(text: str) -> str:
    """`text` without the key, which a server may have repeated."""
    key = os.environ.get(KEY)
    return text.replace(key, f"${KEY}") if key else text


def _explain(error: Exception, step: str, may_have_started: bool | None, of_account: bool) -> SandboxError:
    from e2b.exceptions import AuthenticationException, RateLimitException

    response = _response(error)
    status = getattr(error, "status_code", None) or getattr(response, "status_code", None)
    message = without_key(f"{step} failed: {type(error).__name__}: {error}")
    if of_account and (isinstance(error, AuthenticationException) or status in (401, 403)):
        return SandboxUnavailableError(
            f"E2B refuses the key in the environment variable `{KEY}`; check it, and what it may do. {message}",
            may_have_started=False,
        )
    if of_account and status in (400, 404):
        return SandboxUnavailableError(
            f"E2B refuses what it was asked for; check `template` and `session_s`. {message}", may_have_started=False
        )
    kind = SandboxError
    if status in (429, 503) or isinstance(error, RateLimitException):
        kind = BusyError
    elif is_gone(error) and not of_account:
        kind = VMGoneError
    return kind(
        message,
        may_have_started=not _is_refusal(error) if may_have_started is None else may_have_started,
        retry_after_s=_retry_after_s(response) if kind is BusyError else None,
    )


def is_gone(error: BaseException) -> bool:
    """Whether the VM does not exist any more, as far as the SDK can tell."""
    from e2b.exceptions import SandboxNotFoundException, SandboxNotRunningException

    return isinstance(error, (SandboxNotFoundException, SandboxNotRunningException))


def _is_refusal(error: Exception) -> bool:
    """Whether a command certainly did not start: E2B refused it, or the connection could not be made."""
    from e2b import exceptions

    if isinstance(error, exceptions.SandboxNotRunningException):
        return (
            error.__cause__ is None
        )  # with a cause, the connection was lost first and the VM may have run the program
    refusals = (
        exceptions.AuthenticationException,
        exceptions.InvalidArgumentException,
        exceptions.NotFoundException,
        exceptions.RateLimitException,
    )
    cause: BaseException | None = error
    while cause is not None:
        if type(cause) is ConnectionError:  # the transport's name for a connection that could not be made
            return True
        cause = cause.__cause__
    return isinstance(error, refusals)


def _response(error: Exception) -> Any:
    """The HTTP response behind an error, or `None`.

    The exceptions of the SDK do not carry it, but the frame that raised them does. `Retry-After` is read from it.
    """
    for frame, _ in traceback.walk_tb(error.__traceback__):
        for name in ("res", "r"):
            response = frame.f_locals.get(name)
            if hasattr(response, "status_code") and hasattr(response, "headers"):
                return response
    return None


def _retry_after_s(response: Any) -> float | None:
    """Seconds of the header `Retry-After`, which is a number or a date."""
    text = str(response.headers.get("Retry-After", "")).strip() if response is not None else ""
    if text.isascii() and text.isdecimal():
        return float(text)
    with suppress(ValueError):
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    return None
