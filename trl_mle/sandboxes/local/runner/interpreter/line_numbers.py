"""Compilation of instrumented programs: with the line numbers of the program as it was written, and with silent marks."""

from __future__ import annotations

import ast
import warnings
from types import CodeType

from .silent_marks import SilentMarks


def compile_program(code: bytes, source: bytes, filename: str) -> CodeType:
    """Compile `code`, a copy of `source` with statements added, with the positions of `source` and with [`SilentMarks`].

    Args:
        code (`bytes`): what runs.
        source (`bytes`): what tracebacks and the program itself see.
        filename (`str`): name of the file that holds `source`.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: as `compile` does.
    """
    if code != source:
        try:
            original = ast.parse(source, filename)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # those of the parser were shown for `source`
                tree = ast.parse(code, filename)
            marks = SilentMarks()
            if _copy_positions(tree, original, marks):
                return marks.completed(compile(tree, filename, "exec", dont_inherit=True))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            pass
    return compile(code, filename, "exec", dont_inherit=True)


def _copy_positions(tree: ast.Module, original: ast.Module, marks: SilentMarks) -> bool:
    """Give the nodes of `tree` the positions of `original`, and make added statements silent.

    Returns `False` if `tree` is not `original` with statements added.
    """
    pending: list[tuple[ast.AST, ast.AST]] = [(tree, original)]
    while pending:
        node, model = pending.pop()
        if type(node) is not type(model):
            return False
        if "lineno" in model._attributes:
            ast.copy_location(node, model)
        for field in node._fields:
            ours, theirs = getattr(node, field, None), getattr(model, field, None)
            if isinstance(ours, ast.AST) and isinstance(theirs, ast.AST):
                pending.append((ours, theirs))
            elif isinstance(ours, list) and isinstance(theirs, list):
                added = _added(ours, theirs)
                original_items = [item for index, item in enumerate(ours) if index not in added]
                if len(original_items) != len(theirs):
                    return False
                pending += [pair for pair in zip(original_items, theirs, strict=True) if isinstance(pair[0], ast.AST)]
                for index in added:
                    ours[index] = marks.statement(ours[index])
                _position_added(ours, added, model)
    return True


def _added(ours: list, theirs: list) -> dict[int, ast.AST | None]:
    """Indices in `ours` of the statements that `theirs` lacks, each with the statement of `theirs` before it."""
    added: dict[int, ast.AST | None] = {}
    surplus = len(ours) - len(theirs)
    for index, item in enumerate(ours):
        if len(added) == surplus:
            break
        # What is added is an expression. To dump other statements would cost their size at each level of a nested program.
        if not isinstance(item, ast.Expr):
            continue
        position = index - len(added)
        other = theirs[position] if position < len(theirs) else None
        if not (isinstance(other, ast.Expr) and ast.dump(item) == ast.dump(other)):
            added[index] = theirs[position - 1] if position else None
    return added


def _position_added(ours: list, added: dict[int, ast.AST | None], owner: ast.AST) -> None:
    """Give each added statement the position of the statement before it, or of `owner`."""
    for index, before in added.items():
        model = before or owner
        line = getattr(model, "end_lineno", None) or 1
        for node in ast.walk(ours[index]):
            if "lineno" in node._attributes:
                node.lineno = node.end_lineno = line  # type: ignore[attr-defined]
                node.col_offset = node.end_col_offset = 0  # type: ignore[attr-defined]
