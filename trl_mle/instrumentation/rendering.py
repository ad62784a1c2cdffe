"""From places for marks to the instrumented program, verified."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from trl_mle.instrumentation.analysis.placement import Insertion
from trl_mle.instrumentation.insertion import insert_nodes, insert_text
from trl_mle.instrumentation.mark_statements import needs_robust_print
from trl_mle.instrumentation.verify import Verdict, encoding_of, verify_print_only

BYTE_ORDER_MARK = "\ufeff"


def render(
    code: str, tree: ast.Module, lines: list[str], insertions: list[Insertion], nonce: str
) -> tuple[str, Verdict]:
    """`code` with marks, and the verdict on it; without marks that are verified, `code` itself and the reason.

    The text of the program is kept and marks are put between its lines; where that is impossible the program is written
    anew from `tree`, into which the marks are then put.

    Args:
        tree (`ast.Module`):
            The program.
        lines (`list[str]`):
            Its physical lines, a byte-order mark left out.
        insertions (`list[Insertion]`):
            Where marks go, inner suites before outer ones.
    """
    verdict = Verdict("nothing is inserted", ())
    for text in _renderings(code, tree, lines, insertions, nonce):
        verdict = verify_print_only(code, text, nonce)
        if verdict.ok:
            return text, verdict
    return code, verdict


def _renderings(
    code: str, tree: ast.Module, lines: list[str], insertions: list[Insertion], nonce: str
) -> Iterator[str]:
    """The instrumented program as edited text and, should that not do, as unparsed tree."""
    robust = needs_robust_print(tree)
    marked, cookie = encoding_of(code)
    start = BYTE_ORDER_MARK if marked else ""
    text = insert_text(lines, insertions, nonce, robust)
    if text is not None:
        yield start + text
    insert_nodes(insertions, nonce, robust)
    comment = f"# coding: {cookie}\n" if cookie is not None else ""
    yield start + comment + ast.unparse(ast.fix_missing_locations(tree)) + "\n"
