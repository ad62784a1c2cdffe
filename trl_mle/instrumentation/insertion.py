"""Insertion of marks into the text of a program, and verification of the result.

A mark becomes a new line if possible, `; print(...)` inside a one-line suite. The rest of the text is untouched.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from trl_mle.instrumentation.analysis.budget import spend, walk
from trl_mle.instrumentation.analysis.name_bindings import needs_robust_print
from trl_mle.instrumentation.analysis.placement import Insertion
from trl_mle.instrumentation.mark_statements import mark_source, mark_statement, metric_source, metric_statement
from trl_mle.instrumentation.verify import Verdict, encoding_of, verify_print_only

BYTE_ORDER_MARK = "\ufeff"
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|\Z)")
_SUITE_OWNERS = (
    ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.TryStar, ast.Match,
    ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef,
)  # fmt: skip


def render(
    code: str, tree: ast.Module, lines: list[str], insertions: list[Insertion], nonce: str
) -> tuple[str, Verdict]:
    """`code` with marks, and the verdict on it. If the result cannot be verified: `code` itself, and why.

    Marks are put between the lines of the text. If that is impossible, they are put into `tree`, from which the program
    is then written anew.

    Args:
        tree (`ast.Module`):
            The program.
        lines (`list[str]`):
            Its physical lines, without a byte-order mark.
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
    """The instrumented program as edited text, then as unparsed tree."""
    robust = needs_robust_print(tree)
    marked, cookie = encoding_of(code)
    start = BYTE_ORDER_MARK if marked else ""
    text = insert_text(lines, insertions, nonce, robust)
    if text is not None:
        yield start + text
    insert_nodes(insertions, nonce, robust)
    comment = f"# coding: {cookie}\n" if cookie is not None else ""
    yield start + comment + ast.unparse(ast.fix_missing_locations(tree)) + "\n"


def split_lines(code: str) -> list[str]:
    """The physical lines as the parser counts them, with their line ends. A form feed ends no line."""
    return [line for line in _LINE.findall(code) if line]


def find_elifs(tree: ast.Module, lines: list[str]) -> set[int]:
    """`id` of every `if` statement that is written as `elif`."""
    return {
        id(node.orelse[0])
        for node in walk(tree)
        if isinstance(node, ast.If) and len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If)
        if _from(lines, node.orelse[0].lineno, node.orelse[0].col_offset).startswith("elif")
    }


def insert_text(lines: list[str], insertions: list[Insertion], nonce: str, robust: bool) -> str | None:
    """The text of the program with marks, or `None` if a mark has no place in it."""
    edits = [_Edits() for _ in lines]
    newline = next((ending for line in lines if (ending := _ending(line))), "\n")
    for _, statement, milestones, metrics in insertions:
        end_line, end_column = statement.end_lineno, statement.end_col_offset
        if end_line is None or end_column is None:
            return None
        sources = [mark_source(nonce, milestone, robust) for milestone in milestones]
        sources += [metric_source(nonce, *metric) for metric in metrics]
        first_line, last_line = lines[statement.lineno - 1], lines[end_line - 1]
        indent = _to(first_line, statement.col_offset)
        rest = _from(lines, end_line, end_column).strip(" \t\f\r\n")
        compound = isinstance(statement, _SUITE_OWNERS)
        continued = statement.lineno > 1 and lines[statement.lineno - 2].rstrip("\r\n").endswith("\\")
        on_its_own = not indent.strip(" \t\f") and not continued and (not rest or rest.startswith("#"))
        if on_its_own or (compound and not rest.endswith("\\") and not indent.strip(" \t\f")):
            edits[end_line - 1].after += [f"{indent}{source}" for source in sources]
        elif compound:
            return None
        else:
            position = len(_to(last_line, end_column))
            edits[end_line - 1].inline.append((position, "".join(f"; {source}" for source in sources)))
    return "".join(edit.apply(line, newline) for edit, line in zip(edits, lines, strict=True))


def insert_nodes(insertions: list[Insertion], nonce: str, robust: bool) -> None:
    """Put the marks into the suites of the syntax tree, in place."""
    for suite, statement, milestones, metrics in insertions:
        spend(1 + (len(suite) >> 3))
        position = next(number for number, item in enumerate(suite) if item is statement) + 1
        suite[position:position] = [
            *(mark_statement(nonce, milestone, robust) for milestone in milestones),
            *(metric_statement(nonce, *metric) for metric in metrics),
        ]


@dataclass
class _Edits:
    inline: list[tuple[int, str]] = field(default_factory=list)
    after: list[str] = field(default_factory=list)

    def apply(self, line: str, newline: str) -> str:
        for position, text in sorted(self.inline, reverse=True):
            spend(1 + (len(line) >> 8))
            line = line[:position] + text + line[position:]
        if not self.after:
            return line
        ending = _ending(line)
        return line[: len(line) - len(ending)] + newline + newline.join(self.after) + ending


def _to(line: str, column: int) -> str:
    """`line` up to `column`, which the parser counts in bytes of UTF-8."""
    spend(1 + (len(line) >> 8))
    return line.encode()[:column].decode()


def _from(lines: list[str], number: int, column: int) -> str:
    spend(1 + (len(lines[number - 1]) >> 8))
    return lines[number - 1].encode()[column:].decode()


def _ending(line: str) -> str:
    return line[len(line.rstrip("\r\n")) :]
