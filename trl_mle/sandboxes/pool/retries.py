"""Which faults are retried and after which pause, in the form that tenacity takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tenacity import RetryCallState, wait_random_exponential

from trl_mle.errors import SandboxError, SandboxUnavailableError
from trl_mle.sandboxes.pool.counts import PoolFaultError
from trl_mle.sandboxes.pool.timing import PoolTiming


def has_not_started(error: BaseException) -> bool:
    """Whether the program may be given to the sandbox again: the fault is a passing one from before its start."""
    # The pool's own faults end the wait on purpose, and an unavailable sandbox fails in the same way again.
    if isinstance(error, (SandboxUnavailableError, PoolFaultError)):
        return False
    return isinstance(error, SandboxError) and not error.may_have_started


def retry_pause(timing: PoolTiming) -> Callable[[RetryCallState], float]:
    """A function that returns the seconds until the next try.

    A backend may ask for a time (`SandboxError.retry_after_s`), which is honoured up to `longest_retry_after_s`. Otherwise
    the pause is random, with an upper end that doubles with each try.
    """
    random_pause = wait_random_exponential(multiplier=timing.first_pause_s, max=timing.longest_pause_s)

    def pause(state: RetryCallState) -> float:
        error: Any = state.outcome.exception() if state.outcome else None
        retry_after_s = getattr(error, "retry_after_s", None)
        if retry_after_s is None:
            return random_pause(state)
        return min(max(0.0, retry_after_s), timing.longest_retry_after_s)

    return pause
