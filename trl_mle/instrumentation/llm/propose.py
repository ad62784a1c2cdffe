"""From a program and a model's answer to a verified program: pure, without a model, and what the tests attack."""

from __future__ import annotations

from typing import NamedTuple

from trl_mle.instrumentation import fallbacks
from trl_mle.instrumentation.insertion import BYTE_ORDER_MARK, find_elifs, render, split_lines
from trl_mle.instrumentation.llm.answer import Rejected, read_answer
from trl_mle.instrumentation.llm.claims import place
from trl_mle.instrumentation.llm.prompt import AnswerFormat
from trl_mle.instrumentation.verify import parse
from trl_mle.types import InstrumentedProgram, Program


class Applied(NamedTuple):
    """An accepted answer."""

    program: InstrumentedProgram
    kept: int
    """Claims whose marks stand where the model put them."""
    moved: int
    """Claims ahead of what they claim, or in a loop: their marks stand where `ASTInstrumenter` puts them."""
    added: tuple[str, ...]
    """Milestones that the program proves and the model did not claim."""
    dropped: tuple[str, ...]
    """Why, in words, for each claim that was left out."""


def apply_answer(program: Program, answer: str, answer_format: AnswerFormat, nonce: str) -> Applied:
    """`program` with the marks that `answer` claims, as far as they are verified.

    The result is made from the text of the program, never from the text of the answer.

    Args:
        program ([`Program`]):
            A program that parses and is free of hazards.
        answer (`str`):
            What the model wrote; any text.
        answer_format (`str`):
            Which form it was asked for.
        nonce (`str`):
            This run's secret.

    Raises:
        Rejected: the answer cannot be used; why.
        RecursionError: the program is nested too deeply.
    """
    tree = parse(program.code)
    lines = split_lines(program.code.removeprefix(BYTE_ORDER_MARK))
    claims = read_answer(answer, tree, lines, answer_format)
    placed = place(claims, tree, find_elifs(tree, lines))
    if not (placed.kept or placed.moved):
        words = placed.dropped[0] if placed.dropped else "it claims nothing"
        raise Rejected(fallbacks.NOTHING_PROVED, f"nothing of the answer could be verified ({words})")
    code, verdict = render(program.code, tree, lines, placed.insertions, nonce)
    if not verdict.ok:
        raise Rejected(fallbacks.NOT_VERIFIED, f"not verified: {verdict.reason}")
    instrumented = InstrumentedProgram(
        code, program, nonce, verdict.inserted, metrics=verdict.metrics, instrumenter="llm"
    )
    return Applied(instrumented, placed.kept, placed.moved, placed.added, placed.dropped)
