"""Scopes: the nodes of a suite or class without the bodies of functions and classes in it."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from trl_mle.instrumentation.analysis.budget import spend

SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


def own_nodes(suite: list[ast.stmt]) -> Iterator[ast.AST]:
    """The nodes of `suite` without the bodies of functions and classes in it."""
    stack: list[ast.AST] = list(suite)
    while stack:
        spend()
        node = stack.pop()
        yield node
        if not isinstance(node, SCOPES):
            stack += ast.iter_child_nodes(node)


def defined(owner: ast.ClassDef, name: str) -> list[ast.AST]:
    """What the body of `owner` binds to `name`: functions, classes, or names that are assigned to."""
    found: list[ast.AST] = []
    for node in own_nodes(owner.body):
        match node:
            case ast.FunctionDef(name=bound) | ast.AsyncFunctionDef(name=bound) | ast.ClassDef(name=bound):
                pass
            case ast.Name(id=bound, ctx=ast.Store()) | ast.alias(asname=str(bound)) | ast.alias(name=bound):
                pass
            case _:
                continue
        if bound == name:
            found.append(node)
    return found


def leaves(suite: list[ast.stmt]) -> bool:
    """Whether `suite` may end by `return`, `break` or `continue`. In a `finally`, this ends an exception."""
    return any(isinstance(node, (ast.Return, ast.Break, ast.Continue)) for node in own_nodes(suite))
