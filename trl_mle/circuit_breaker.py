"""Whether a service is worth asking: closed while it answers, open once it does not, with a probe now and then."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)

FAILURES = 3
"""Requests in a row that fail before the circuit opens, where nothing else is said."""
_LONGEST = 10
"""The time between probes grows to this many times the first."""


class Circuit:
    """Opens after some failed requests in a row, or at once where an error is permanent.

    While it is open nothing is sent, but for one probe after `probe_after_s` seconds, doubled after each probe that
    fails. One warning is logged when it opens and one when it closes again.

    Args:
        name (`str`):
            What is asked, for the warning.
        probe_after_s (`float`):
            Seconds until the first probe.
        clock (`Callable[[], float]`, *optional*):
            Monotonic seconds.
        failures (`int`, *optional*, defaults to `FAILURES`):
            Requests in a row that fail before the circuit opens.
        when_open (`str`, *optional*):
            What happens while it is open, for the warning.
        when_closed (`str`, *optional*):
            What happens once it is closed again, for the warning.
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
        """How often it has opened."""
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
        """Whether nothing but probes is sent."""
        return self._open_until is not None

    @property
    def wait_s(self) -> float:
        """Seconds until the next probe may be sent; 0 while it is closed."""
        return 0.0 if self._open_until is None else max(0.0, self._open_until - self._clock())

    def admit(self) -> bool:
        """Whether a request may be sent now; a probe is admitted once until it has succeeded, failed or been `released`."""
        if self._open_until is None:
            return True
        if self._probing or self._clock() < self._open_until:
            return False
        self._probing = True
        return True

    def release(self) -> None:
        """A probe ended without telling anything (it was cancelled)."""
        self._probing = False

    def succeeded(self) -> None:
        """An answer came."""
        if self.is_open:
            logger.warning("%s answers again. %s", self.name, self._when_closed)
        self._failures = self._probes = 0
        self._open_until = None
        self._probing = False

    def failed(self, words: str, permanent: bool = False) -> None:
        """A request failed."""
        self._failures += 1
        if self.is_open and not self._probing:
            return  # sent before the circuit opened
        if not self.is_open and self._failures < self._most_failures and not permanent:
            return
        if not self.is_open:
            self.opened += 1
            logger.warning("%s cannot be used: %s. %s", self.name, words, self._when_open)
        self._probing = False
        self._open_until = self._clock() + self.probe_after_s * min(2**self._probes, _LONGEST)
        self._probes += 1
