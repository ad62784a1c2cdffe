"""`CircuitBreaker`: stops requests to a service that keeps failing, and probes it at growing intervals."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)

FAILURES = 3
"""Default number of failed requests in a row that open the breaker."""
_LONGEST = 10
"""The time between probes grows to this multiple of the first one."""


class CircuitBreaker:
    """Opens after some failed requests in a row, or at once after a permanent error.

    While the breaker is open, no request is admitted except one probe after `probe_after_s` seconds. The interval doubles
    after each failed probe. One warning is logged when the breaker opens, and one when it closes again.

    Args:
        name (`str`):
            Name of the service, for the warning.
        probe_after_s (`float`):
            Seconds until the first probe.
        clock (`Callable[[], float]`, *optional*):
            Clock that returns monotonic seconds. Defaults to `time.monotonic`.
        failures (`int`, *optional*, defaults to `FAILURES`):
            Failed requests in a row that open the breaker.
        when_open (`str`, *optional*):
            Consequence of the open breaker, for the warning.
        when_closed (`str`, *optional*):
            Consequence of the closed breaker, for the warning.
    """

    def __init__(
        self,
        name: str,
        probe_after_s: float,
        clock: Callable[[], float] = time.monotonic,
        *,
        failures: int = FAILURES,
        when_open: str = "",
        when_closed: str = "",
    ):
        self.name = name
        self.probe_after_s = probe_after_s
        self.opened = 0
        """How often the breaker has opened."""
        self._clock = clock
        self._most_failures = failures
        self._when_open = when_open
        self._when_closed = when_closed
        self._failures = 0
        self._probes = 0
        self._open_until: float | None = None
        self._probing = False

    @property
    def is_open(self) -> bool:
        """Whether only probes are admitted."""
        return self._open_until is not None

    @property
    def wait_s(self) -> float:
        """Seconds until the next probe may be sent; 0 while the breaker is closed."""
        return 0.0 if self._open_until is None else max(0.0, self._open_until - self._clock())

    def admit(self) -> bool:
        """Whether a request may be sent at this moment.

        While the breaker is open, one probe is admitted. The next one is admitted only after the first has ended by
        `succeeded`, `failed` or `release`.
        """
        if self._open_until is None:
            return True
        if self._probing or self._clock() < self._open_until:
            return False
        self._probing = True
        return True

    def release(self) -> None:
        """Report a probe that ended without a result (it was cancelled)."""
        self._probing = False

    def succeeded(self) -> None:
        """Report an answer: the breaker closes."""
        if self.is_open:
            logger.warning("%s answers again. %s", self.name, self._when_closed)
        self._failures = self._probes = 0
        self._open_until = None
        self._probing = False

    def failed(self, reason: str, permanent: bool = False) -> None:
        """Report a failed request.

        Args:
            reason (`str`):
                What happened, for the warning.
            permanent (`bool`, *optional*, defaults to `False`):
                Whether the error lasts until somebody changes a setting; one such error opens the breaker.
        """
        self._failures += 1
        if self.is_open and not self._probing:
            return  # the request was sent before the breaker opened and says nothing about a probe
        if not self.is_open and self._failures < self._most_failures and not permanent:
            return
        if not self.is_open:
            self.opened += 1
            logger.warning("%s cannot be used: %s. %s", self.name, reason, self._when_open)
        self._probing = False
        self._open_until = self._clock() + self.probe_after_s * min(2**self._probes, _LONGEST)
        self._probes += 1
