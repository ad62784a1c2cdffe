"""The interface of instrumenters, and an adapter for objects that implement only a part of it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable
from typing import Any, Protocol, runtime_checkable

from trl_mle.types import InstrumentedProgram, Program


@runtime_checkable
class Instrumenter(Protocol):
    """Inserts prints that report milestones and changes nothing else."""

    async def instrument_async(self, program: Program, nonce: str) -> InstrumentedProgram:
        """Return `program` with marks that carry `nonce`, without blocking the event loop.

        Args:
            program ([`Program`]):
                The policy's program. Any text is accepted.
            nonce (`str`):
                The secret of this run, from `new_nonce()`. The policy never sees it.

        Raises:
            UserError: `nonce` has the wrong form.
        """
        ...

    def take_metrics(self) -> dict[str, float]:
        """Metric name -> value since the last call."""
        ...

    async def aclose(self) -> None:
        """Release connections and other resources. A second call does nothing."""
        ...


class MinimalInstrumenter(Protocol):
    """An instrumenter with one method, as users write it. `as_instrumenter` makes an [`Instrumenter`] of it."""

    def instrument(self, program: Program, nonce: str) -> InstrumentedProgram | Awaitable[InstrumentedProgram]:
        """Return `program` with marks that carry `nonce`, or an awaitable of it."""
        ...


def as_instrumenter(instrumenter: Instrumenter | MinimalInstrumenter) -> Instrumenter:
    """`instrumenter` itself if it implements [`Instrumenter`], otherwise an adapter around it.

    Raises:
        TypeError: `instrumenter` has neither `instrument_async` nor `instrument`.
    """
    if isinstance(instrumenter, Instrumenter):
        return instrumenter
    if not hasattr(instrumenter, "instrument") and not hasattr(instrumenter, "instrument_async"):
        raise TypeError(
            f"{type(instrumenter).__name__} is not an instrumenter. Give it a method `instrument(program, nonce)` that "
            "returns an `InstrumentedProgram`, or `instrument_async`."
        )
    return _Adapter(instrumenter)


async def run_instrument(instrumenter: MinimalInstrumenter, program: Program, nonce: str) -> InstrumentedProgram:
    """Call `instrumenter.instrument`, which may be synchronous or asynchronous."""
    if inspect.iscoroutinefunction(instrumenter.instrument):
        return await instrumenter.instrument(program, nonce)
    # A long program takes seconds to parse, so a synchronous call runs in a thread.
    result = await asyncio.to_thread(instrumenter.instrument, program, nonce)
    return await result if inspect.isawaitable(result) else result


class _Adapter:
    """Implements each method of [`Instrumenter`] that the wrapped object lacks; all other attributes are the object's."""

    def __init__(self, wrapped: Any):
        self._wrapped = wrapped

    def __getattr__(self, name: str) -> Any:
        # A copy that is being unpickled has no `_wrapped` yet, and asks for `__setstate__` and its kin.
        if name == "_wrapped" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._wrapped, name)

    async def instrument_async(self, program: Program, nonce: str) -> InstrumentedProgram:
        if hasattr(self._wrapped, "instrument_async"):
            return await self._wrapped.instrument_async(program, nonce)
        return await run_instrument(self._wrapped, program, nonce)

    def take_metrics(self) -> dict[str, float]:
        return self._wrapped.take_metrics() if hasattr(self._wrapped, "take_metrics") else {}

    async def aclose(self) -> None:
        if hasattr(self._wrapped, "aclose"):
            await self._wrapped.aclose()
