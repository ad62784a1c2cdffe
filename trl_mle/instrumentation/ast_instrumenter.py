"""Instrumentation from the syntax tree: deterministic, without a model, verified before it is used."""

from __future__ import annotations

import logging

from trl_mle.instrumentation import fallbacks
from trl_mle.instrumentation.analysis.budget import BudgetExceededError, budget, check_names
from trl_mle.instrumentation.analysis.hazards import find_hazard
from trl_mle.instrumentation.analysis.placement import Placement
from trl_mle.instrumentation.base import run_instrument
from trl_mle.instrumentation.insertion import BYTE_ORDER_MARK, find_elifs, render, split_lines
from trl_mle.instrumentation.marks import MARK_PREFIX, mark
from trl_mle.instrumentation.verify import parse
from trl_mle.types import MILESTONES, InstrumentedProgram, Program

logger = logging.getLogger(__name__)


class ASTInstrumenter:
    """Inserts marks right after the statements that reach a milestone, on success only.

    Marks are put between the lines of the text. If that is impossible, the program is written anew from its syntax tree.
    Either way, the result is verified to be the program plus printed marks. A program that cannot be parsed, already
    contains marks, reads its own source or cannot be verified runs as it is, and `fallback_reason` says why. The rules of
    the milestones are in `analysis.milestone_rules`, the places of marks in `analysis.placement`.
    """

    def instrument(self, program: Program, nonce: str) -> InstrumentedProgram:
        """Return `program` with marks that carry `nonce`.

        Args:
            program ([`Program`]):
                The policy's program. Any text is accepted.
            nonce (`str`):
                The secret of this run, from `new_nonce()`.

        Raises:
            UserError: `nonce` has the wrong form.
        """
        mark(nonce, MILESTONES[0])  # a wrong nonce is the caller's error, not the program's
        try:
            with budget():
                return self._instrument(program, nonce)
        except BudgetExceededError as error:
            return fallbacks.uninstrumented(program, nonce, fallbacks.TOO_COMPLEX, str(error))
        except RecursionError:
            return fallbacks.uninstrumented(program, nonce, fallbacks.NOT_PARSED, "the program is nested too deeply")
        except (SyntaxError, ValueError, MemoryError) as error:
            reason = f"the program does not parse: {type(error).__name__}: {error}"
            return fallbacks.uninstrumented(program, nonce, fallbacks.NOT_PARSED, reason)
        except (
            Exception
        ) as error:  # a bug of this package must not pay: as a fault, the program would escape its penalty
            logger.exception("Instrumentation failed; the program runs as it is")
            return fallbacks.uninstrumented(program, nonce, fallbacks.FAILED, f"{type(error).__name__}: {error}")

    async def instrument_async(self, program: Program, nonce: str) -> InstrumentedProgram:
        """`instrument` in a thread. A subclass overrides `instrument`."""
        return await run_instrument(self, program, nonce)

    def take_metrics(self) -> dict[str, float]:
        """No metrics: this instrumenter counts nothing."""
        return {}

    async def aclose(self) -> None:
        """Do nothing: this instrumenter holds no resources."""

    def _instrument(self, program: Program, nonce: str) -> InstrumentedProgram:
        if MARK_PREFIX in program.code:
            return fallbacks.uninstrumented(program, nonce, fallbacks.HAS_MARKS, "the program already contains marks")
        tree = parse(program.code)
        check_names(tree)
        hazard = find_hazard(tree)
        if hazard is not None:
            return fallbacks.uninstrumented(program, nonce, fallbacks.HAZARD, hazard)
        lines = split_lines(program.code.removeprefix(BYTE_ORDER_MARK))
        insertions = Placement(tree, find_elifs(tree, lines)).run()
        if not insertions:
            return fallbacks.uninstrumented(program, nonce, fallbacks.NO_MILESTONE, "no statement reaches a milestone")
        code, verdict = render(program.code, tree, lines, insertions, nonce)
        if not verdict.ok:
            return fallbacks.uninstrumented(program, nonce, fallbacks.NOT_VERIFIED, f"not verified: {verdict.reason}")
        return InstrumentedProgram(code, program, nonce, verdict.inserted)
