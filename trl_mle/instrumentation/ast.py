"""Instrumentation from the syntax tree: deterministic, without a model, verified before it is used."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from trl_mle.instrumentation.flow import Flow, Insertion
from trl_mle.instrumentation.hazards import find_hazard
from trl_mle.instrumentation.insertion import find_elifs, insert_nodes, insert_text, split_lines
from trl_mle.instrumentation.milestones import MARK_PREFIX, mark
from trl_mle.instrumentation.statements import needs_robust_print
from trl_mle.instrumentation.verify import encoding_of, parse, verify_print_only
from trl_mle.types import MILESTONES, InstrumentedProgram, Program

_BYTE_ORDER_MARK = "\ufeff"


class ASTInstrumenter:
    """Inserts marks right after the statements that reach a milestone, on success only.

    The text of the program is kept and marks are put between its lines; where that is impossible the program is
    written anew from its syntax tree. Either way the result is verified to be the program plus printed marks. A
    program that cannot be parsed, already contains marks, reads its own source or cannot be verified runs as it is,
    and `fallback_reason` says why. What each milestone means is in `vocabulary`, where marks go in `flow`.
    """

    def instrument(self, program: Program, nonce: str) -> InstrumentedProgram:
        """Return `program` with marks that carry `nonce`.

        Args:
            program ([`Program`]):
                The policy's program; any text.
            nonce (`str`):
                This run's secret, from `new_nonce()`.

        Raises:
            UserError: `nonce` has the wrong form.
        """
        mark(nonce, MILESTONES[0])  # a wrong nonce is the caller's error, not the program's
        try:
            return self._instrument(program, nonce)
        except RecursionError:
            return _unchanged(program, nonce, "the program is nested too deeply")
        except (SyntaxError, ValueError, MemoryError) as error:
            return _unchanged(program, nonce, f"the program does not parse: {type(error).__name__}: {error}")

    def _instrument(self, program: Program, nonce: str) -> InstrumentedProgram:
        if MARK_PREFIX in program.code:
            return _unchanged(program, nonce, "the program already contains marks")
        tree = parse(program.code)
        hazard = find_hazard(tree)
        if hazard is not None:
            return _unchanged(program, nonce, hazard)
        lines = split_lines(program.code.removeprefix(_BYTE_ORDER_MARK))
        insertions = Flow(tree, find_elifs(tree, lines)).run()
        if not insertions:
            return _unchanged(program, nonce, "no statement reaches a milestone")
        reason: str | None = None
        for code in _renderings(program.code, tree, lines, insertions, nonce):
            verdict = verify_print_only(program.code, code, nonce)
            if verdict.ok:
                return InstrumentedProgram(code, program, nonce, verdict.inserted)
            reason = verdict.reason
        return _unchanged(program, nonce, f"not verified: {reason}")


def _renderings(
    code: str, tree: ast.Module, lines: list[str], insertions: list[Insertion], nonce: str
) -> Iterator[str]:
    """The instrumented program as edited text and, should that not do, as unparsed tree."""
    robust = needs_robust_print(tree)
    marked, cookie = encoding_of(code)
    start = _BYTE_ORDER_MARK if marked else ""
    text = insert_text(lines, insertions, nonce, robust)
    if text is not None:
        yield start + text
    insert_nodes(insertions, nonce, robust)
    comment = f"# coding: {cookie}\n" if cookie is not None else ""
    yield start + comment + ast.unparse(ast.fix_missing_locations(tree)) + "\n"


def _unchanged(program: Program, nonce: str, reason: str) -> InstrumentedProgram:
    return InstrumentedProgram(program.code, program, nonce, (), reason)
