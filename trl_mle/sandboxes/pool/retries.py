"""When and after which pause a program may be given to the backend again, for tenacity."""

from __future__ import annotations

from typing import Any

from tenacity import RetryCallState, wait_random_exponential

from trl_mle.errors import SandboxError, SandboxUnavailableError
from trl_mle.sandboxes.pool.counts import PoolFaultError

PAUSE = wait_random_exponential(multiplier=0.1, max=5.0)
MOST_ASKED_S = 300.0
"""Longest pause that a backend may ask for, in seconds."""


def has_not_started(error: BaseException) -> bool:
    """Whether the program may be given to the sandbox again."""
    if isinstance(error, (SandboxUnavailableError, PoolFaultError)):
        return False
    return isinstance(error, SandboxError) and not error.may_have_started


def pause(state: RetryCallState) -> float:
    """Seconds until the next try: what the backend asked for (at most `MOST_ASKED_S`), or a random time that grows."""
    error: Any = state.outcome.exception() if state.outcome else None
    asked_s = getattr(error, "retry_after_s", None)
    return PAUSE(state) if asked_s is None else min(max(0.0, asked_s), MOST_ASKED_S)
