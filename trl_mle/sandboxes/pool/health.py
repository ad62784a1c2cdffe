"""Whether the sandbox works: the circuit breaker, the probe and the length of the outage as one object."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from trl_mle.circuit_breaker import CircuitBreaker
from trl_mle.config import PoolConfig
from trl_mle.errors import UserError


@dataclass(eq=False)
class Lease:
    """The permission of one program to use the sandbox once."""

    is_probe: bool
    """Whether the program tries a sandbox that is down."""
    is_reported: bool = False
    """Whether `Health` knows how the use ended."""


class Health:
    """Decides from the results of programs whether the sandbox may be used.

    The sandbox is up until `config.failures` programs in a row end in a fault. Then it is down: one program at a time, the
    probe, tries it after a cool-down that doubles with each failed probe. One success ends the outage. An outage of more
    than `config.outage_s` seconds is hopeless.

    Args:
        name (`str`):
            The sandbox, for the warnings.
        config ([`PoolConfig`]):
            `failures`, `cool_down_s` and `outage_s`.
        clock (`Callable[[], float]`, *optional*):
            Monotonic seconds.
    """

    def __init__(self, name: str, config: PoolConfig, clock: Callable[[], float] = time.monotonic):
        self._outage_s = config.outage_s
        self._clock = clock
        self._breaker = CircuitBreaker(
            name,
            config.cool_down_s,
            clock,
            failures=config.failures,
            when_open=f"Programs wait, one is tried every now and then, and after {config.outage_s:g} s they are given "
            "up (metric sandbox/fault/outage).",
            when_closed="Programs are run again.",
        )
        self._probe: Lease | None = None
        """The lease of the probe that is under way."""
        self._down_since: float | None = None

    @property
    def is_down(self) -> bool:
        """Whether only probes may use the sandbox."""
        return self._breaker.is_open

    @property
    def is_probing(self) -> bool:
        """Whether a probe is under way."""
        return self._probe is not None

    @property
    def is_hopeless(self) -> bool:
        """Whether the outage has lasted for more than `outage_s`. A probe under way may still end it."""
        return self.is_down and not self.is_probing and self._left_s <= 0

    @property
    def wait_s(self) -> float:
        """Seconds until the next probe is due or the outage becomes hopeless, whichever is first."""
        return max(0.0, min(self._left_s, self._breaker.wait_s))

    @property
    def _left_s(self) -> float:
        down_s = 0.0 if self._down_since is None else self._clock() - self._down_since
        return self._outage_s - down_s

    def lease(self) -> Lease | None:
        """A lease for the next program, or `None` if no program may use the sandbox now. Report each lease once."""
        # One probe at a time: a sandbox that is down should not cost more than one program per cool-down.
        if self._probe is not None:
            return None
        is_probe = self._breaker.is_open
        if not self._breaker.admit():
            return None
        lease = Lease(is_probe)
        if is_probe:
            self._probe = lease
        return lease

    def report(self, lease: Lease, error: BaseException | None) -> None:
        """Tell how the use of `lease` ended; `error` is `None` after an `Execution`. Only the first report counts."""
        # A call that did not answer in time is reported then, and ends later for a second time.
        if lease.is_reported:
            return
        lease.is_reported = True
        if lease is self._probe:
            self._probe = None
        if error is None:
            self._breaker.succeeded()
            # Any success ends the outage, also that of a program from before it. Nobody has to wait for the probe then.
            self._down_since = self._probe = None
        elif isinstance(error, (asyncio.CancelledError, UserError)):
            # A cancellation or a wrong setting says nothing about the sandbox: another program may be the probe.
            if lease.is_probe:
                self._breaker.release()
        elif lease.is_probe or not self._breaker.is_open:
            # Programs from before the outage also fail during it. They must not prolong the cool-down.
            self._breaker.failed(str(error) or type(error).__name__)
            if self._breaker.is_open and self._down_since is None:
                self._down_since = self._clock()
