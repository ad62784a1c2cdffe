"""Compiles an instrumented program so that its lines carry the numbers that they have in the program as it was written."""

from __future__ import annotations

import ast
import warnings
from types import CodeType


def compile_program(code: bytes, source: bytes, filename: str) -> CodeType:
    """Compile `code` with the positions of `source`, of which it is a copy with statements added.

    Args:
        code (`bytes`): what runs.
        source (`bytes`): what tracebacks and the program itself shall see.
        filename (`str`): name of the file that holds `source`.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: as `compile` does.
    """
    if code != source:
        try:
            original = ast.parse(source, filename)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # they have been given for `source`
                tree = ast.parse(code, filename)
            if _copy_positions(tree, original):
                return compile(tree, filename, "exec", dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            pass
    return compile(code, filename, "exec", dont_inherit=True)


def _copy_positions(tree: ast.Module, original: ast.Module) -> bool:
    """Whether `tree` is `original` with statements added; then its nodes have got the positions of the original."""
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
                kept = [item for place, item in enumerate(ours) if place not in added]
                if len(kept) != len(theirs):
                    return False
                pending += [pair for pair in zip(kept, theirs, strict=True) if isinstance(pair[0], ast.AST)]
                _place(ours, added, model)
    return True


def _added(ours: list, theirs: list) -> dict[int, ast.AST | None]:
    """Places in `ours` of what `theirs` lacks, each with the statement of `theirs` before it."""
    added: dict[int, ast.AST | None] = {}
    surplus = len(ours) - len(theirs)
    for place, item in enumerate(ours):
        if len(added) == surplus:
            break
        position = place - len(added)
        is_same = position < len(theirs) and ast.dump(item) == ast.dump(theirs[position])
        if isinstance(item, ast.Expr) and not is_same:
            added[place] = theirs[position - 1] if position else None
    return added


def _place(ours: list, added: dict[int, ast.AST | None], owner: ast.AST) -> None:
    """Give the statements that were added the position of the one before them, or of `owner`."""
    for place, before in added.items():
        model = before or owner
        line = getattr(model, "end_lineno", None) or 1
        for node in ast.walk(ours[place]):
            if "lineno" in node._attributes:
                node.lineno = node.end_lineno = line  # type: ignore[attr-defined]
                node.col_offset = node.end_col_offset = 0  # type: ignore[attr-defined]
