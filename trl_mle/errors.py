"""One exception per boundary.

`UserError` and its kin are shown without a traceback and name the value and the fix. `InfrastructureError` and its kin
mean that nothing is known about the policy: the sample is unscorable (`None`), is retried a bounded number of times, and
is never a reward. A program that fails is no exception at all: it is data (`Execution`, `Grade`).
"""

from __future__ import annotations

from pathlib import PurePath


class TrlMleError(Exception):
    """Base of every error that this package raises on purpose."""


class UserError(TrlMleError, ValueError):
    """Wrong input: the message names the value and what to write instead."""


class ConfigError(UserError):
    """A setting, a YAML key or a combination of settings that cannot work."""


class StoreError(ConfigError):
    """An experience store that cannot be opened, read or written."""


class TaskError(UserError):
    """A task that does not exist, is incomplete or contradicts itself."""


def check_is_task(task: object) -> None:
    """Raise `TaskError` if `task` is a name or a path, which `load_task` makes a task of."""
    if isinstance(task, (str, PurePath)):
        raise TaskError(f"a task is needed, not its name: write `load_task({str(task)!r})`.")


class DurationError(UserError):
    """A reward function that reports no durations, the wrong number of them, or impossible ones."""


class CreditError(UserError):
    """A reward function that reports no rewards of actions, the wrong number of them, or impossible ones."""


class ExtractionError(TrlMleError):
    """No usable program in a completion: the policy's fault.

    Args:
        reason (`str`):
            A short identifier such as `no_code_block`, counted as a metric.
        detail (`str`, *optional*):
            The reason in words.
    """

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class ParentNotShownError(TrlMleError):
    """An earlier solution that no prompt can show: it has no program, was lost to a fault, or is longer than the token budget.

    The caller takes another one, or asks for a solution from scratch.
    """


class InfrastructureError(TrlMleError):
    """Something other than the policy's program failed."""


class CheckpointError(InfrastructureError):
    """A checkpoint, or another file of a run, that could not be written, for instance because the disk is full."""


class SandboxError(InfrastructureError):
    """The sandbox, not the program, failed.

    Args:
        may_have_started (`bool`, *optional*, defaults to `True`):
            Whether the program may have begun to run. Only where it certainly has not may it be run again.
        retry_after_s (`float`, *optional*):
            Seconds that the backend asked to wait for before the next try.
    """

    def __init__(self, message: str = "", *, may_have_started: bool = True, retry_after_s: float | None = None):
        super().__init__(message)
        self.may_have_started = may_have_started
        self.retry_after_s = retry_after_s


class SandboxUnavailableError(SandboxError, UserError):
    """The sandbox cannot work on this machine as configured; retrying does not help."""


class InstrumentationError(InfrastructureError):
    """The instrumenter failed in a way that has no fallback."""


class ProcessError(InfrastructureError):
    """Another process of this run has stopped: the message names it and its error."""


class GradingError(InfrastructureError):
    """The grader failed although the submission has the right form: a bug of the grader or of the task."""


def missing_extra(package: str, extra: str) -> UserError:
    """The error for an optional package that is not installed, naming the extra that brings it."""
    return UserError(f"`{package}` is not installed. Install it with `pip install 'trl_mle[{extra}]'`.")


def hub_client_errors() -> tuple[type[Exception], ...]:
    """What the client of the Hugging Face Hub raises if the Hub cannot be reached or refuses."""
    from huggingface_hub import errors

    # The error of the client's own HTTP library, which has changed from httpx to httpx2.
    (http_error,) = (base for base in errors.HfHubHTTPError.__mro__ if base.__name__ == "HTTPError")
    return (
        http_error,
        errors.HfHubHTTPError,
        errors.HFValidationError,
        errors.LocalTokenNotFoundError,
        errors.OfflineModeIsEnabled,
        OSError,
    )
