"""Imports: the statement after which the libraries of a program are imported."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from trl_mle.instrumentation.analysis.budget import spend, walk
from trl_mle.instrumentation.analysis.vocabulary import LIBRARIES

_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_BESIDE_IMPORTS = (ast.Import, ast.ImportFrom, ast.Pass, ast.Raise, ast.Assign, ast.AnnAssign)
_REMARKS = frozenset({"print", "warn", "filterwarnings", "simplefilter", "info", "warning"})


def is_library_import(node: ast.AST) -> bool:
    """Whether `node` imports a library for machine learning or data."""
    if isinstance(node, ast.Import):
        return any(alias.name.split(".")[0] in LIBRARIES for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        return node.level == 0 and (node.module or "").split(".")[0] in LIBRARIES
    return False


def import_anchors(tree: ast.Module) -> set[int]:
    """`id` of the statements after which the libraries are imported.

    It is the last such import outside functions. If a `try` or `if` around it only imports (a fallback for a missing
    package), it is that whole statement. If that does more, it is both: the branch with the last import may be skipped, and
    the other libraries are imported all the same. If only functions import, it is the last import of each function.
    """
    anchors = _last_anchors(tree.body)
    if not anchors:
        functions = [node for node in walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
        anchors = [anchor for function in functions for anchor in _last_anchors(function.body)]
    return {id(node) for node in anchors}


def _last_anchors(suite: list[ast.stmt]) -> list[ast.stmt]:
    for statement in reversed(suite):
        if is_library_import(statement):
            return [statement]
        if isinstance(statement, _SCOPES) or not any(is_library_import(node) for node in _same_scope(statement)):
            continue
        if all(isinstance(node, _BESIDE_IMPORTS) or _is_remark(node) for node in _simple_statements(statement)):
            return [statement]
        for inner in reversed(list(_suites(statement))):
            if anchors := _last_anchors(inner):
                return [*anchors, statement]
    return []


def _is_remark(node: ast.stmt) -> bool:
    """Whether `node` only says something, such as that a package is missing."""
    match node:
        case ast.Expr(value=ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name))):
            return name in _REMARKS
    return False


def _suites(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    for child in [statement, *(node for node in ast.iter_child_nodes(statement) if not isinstance(node, ast.stmt))]:
        for _, value in ast.iter_fields(child):
            if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
                yield value


def _same_scope(statement: ast.stmt) -> Iterator[ast.AST]:
    stack: list[ast.AST] = [statement]
    while stack:
        spend()
        node = stack.pop()
        yield node
        stack += [child for child in ast.iter_child_nodes(node) if not isinstance(child, _SCOPES)]


def _simple_statements(statement: ast.stmt) -> Iterator[ast.stmt]:
    for node in _same_scope(statement):
        if isinstance(node, ast.stmt) and not isinstance(node, (ast.Try, ast.TryStar, ast.If, ast.With)):
            yield node
