"""What every instrumenter offers."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any, Protocol

from trl_mle.types import InstrumentedProgram, Program


class Instrumenter(Protocol):
    """Inserts prints that report milestones and changes nothing else."""

    async def instrument_async(self, program: Program, nonce: str) -> InstrumentedProgram:
        """Return `program` with marks that carry `nonce`, a secret of this run that the policy never sees."""
        ...

    def take_metrics(self) -> dict[str, float]:
        """Metric -> value since the last call."""
        ...

    async def aclose(self) -> None:
        """Release what the instrumenter holds, such as connections."""
        ...


def as_instrumenter(instrumenter: Any) -> Instrumenter:
    """`instrumenter` itself if it has all methods of the protocol, else an adapter for an object with only `instrument`."""
    if all(hasattr(instrumenter, name) for name in ("instrument_async", "take_metrics", "aclose")):
        return instrumenter
    return _Adapted(instrumenter)


class _Adapted:
    """An object with a method `instrument`, synchronous or asynchronous, as an [`Instrumenter`]."""

    def __init__(self, instrumenter: Any):
        self.instrumenter = instrumenter

    async def instrument_async(self, program: Program, nonce: str) -> InstrumentedProgram:
        instrument = self.instrumenter.instrument
        if inspect.iscoroutinefunction(instrument):
            return await instrument(program, nonce)
        result = await asyncio.to_thread(instrument, program, nonce)  # parsing a long program takes a while
        return await result if inspect.isawaitable(result) else result

    def take_metrics(self) -> dict[str, float]:
        take = getattr(self.instrumenter, "take_metrics", None)
        return {} if take is None else take()

    async def aclose(self) -> None:
        if (aclose := getattr(self.instrumenter, "aclose", None)) is not None:
            await aclose()
