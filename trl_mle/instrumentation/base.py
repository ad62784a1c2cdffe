"""What every instrumenter offers."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

from trl_mle.types import InstrumentedProgram, Program


class Instrumenter(Protocol):
    """Inserts prints that report milestones and changes nothing else."""

    def instrument(self, program: Program, nonce: str) -> InstrumentedProgram | Awaitable[InstrumentedProgram]:
        """Return `program` with marks that carry `nonce`, a secret of this run that the policy never sees."""
        ...
