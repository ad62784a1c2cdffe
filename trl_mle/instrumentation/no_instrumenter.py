"""`NoInstrumenter`: programs run as they are, for scores without milestones."""

from __future__ import annotations

from trl_mle.types import InstrumentedProgram, Program


class NoInstrumenter:
    """An [`Instrumenter`] that inserts nothing: validation and evaluation measure a program as it was written."""

    async def instrument_async(self, program: Program, nonce: str) -> InstrumentedProgram:
        """`program` unchanged."""
        return InstrumentedProgram(program.code, program, nonce)

    def take_metrics(self) -> dict[str, float]:
        """No metrics."""
        return {}

    async def aclose(self) -> None:
        """Nothing to release."""
