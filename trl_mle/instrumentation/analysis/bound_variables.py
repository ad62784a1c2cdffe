"""Bound variables: where the report of a metric may stand without changing what the program does.

A report reads one plain variable. Reading an attribute or an item may run code, and reading an unbound variable raises.
So the variable must be bound by a plain assignment that has certainly run before the report, in the same function (or
the module), and must be deleted nowhere. Every name that the report uses must have its usual meaning.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from trl_mle.instrumentation.analysis.budget import walk
from trl_mle.instrumentation.analysis.name_bindings import binds, needs_robust_print

_USED = frozenset({"print", "float", "int", "issubclass", "type"})
_REACHES_NAMES = frozenset(
    {"exec", "eval", "globals", "locals", "vars", "setattr", "delattr", "builtins", "__builtins__", "__dict__"}
)
"""Names by which a program can bind or delete a variable that its text does not name."""
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def metric_hazard(tree: ast.AST) -> str | None:
    """Why this program may report no metric, or `None`."""
    if needs_robust_print(tree) or binds(tree, _USED):
        return "the program replaces a name that the report of a metric needs"
    for node in walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name) if name in _REACHES_NAMES:
                return f"the program can bind names by `{name}`"
    return None


class BoundVariables:
    """Which variables certainly hold a value after a statement of one program."""

    def __init__(self, tree: ast.Module):
        self._homes: dict[int, tuple[list[ast.stmt], ast.AST]] = {}
        """`id` of a statement -> its suite and the node that the suite belongs to."""
        self._part_of: dict[int, ast.AST] = {}
        """`id` of a handler or case -> the statement that it is a part of."""
        self._unbound: set[str] = set()
        for node in walk(tree):
            for _, value in ast.iter_fields(node):
                if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
                    self._homes.update((id(item), (value, node)) for item in value)
            for part in (*getattr(node, "handlers", []), *getattr(node, "cases", [])):
                self._part_of[id(part)] = node
            match node:
                case ast.Name(id=name, ctx=ast.Del()):
                    self._unbound.add(name)
                case ast.ExceptHandler(name=str(name)):
                    self._unbound.add(name)  # deleted when the handler ends

    def after(self, statement: ast.stmt) -> dict[str, ast.expr]:
        """Variable -> the expression that it was last bound to, by a plain assignment that has certainly run.

        Empty in the body of a class, because there a name may be looked up by code of the program (`__prepare__`).
        """
        bound: dict[str, ast.expr] = {}
        node: ast.AST = statement
        while id(node) in self._homes:
            suite, owner = self._homes[id(node)]
            if isinstance(owner, ast.ClassDef):
                return {}
            position = next(number for number, item in enumerate(suite) if item is node)
            for item in reversed(suite[: position + 1]):
                for name, value in _assigned(item):
                    bound.setdefault(name, value)
            if isinstance(owner, _FUNCTIONS):
                break
            node = self._part_of.get(id(owner), owner)
        return {name: value for name, value in bound.items() if name not in self._unbound}


def _assigned(statement: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    match statement:
        case ast.Assign(targets=targets, value=value):
            for target in targets:
                yield from _names(target, value)
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
            yield name, value
        case ast.AugAssign(target=ast.Name(id=name)):
            yield name, ast.BinOp(left=ast.Name(id=name), op=statement.op, right=statement.value)


def _names(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(target, ast.Name):
        yield target.id, value
    elif isinstance(target, (ast.Tuple, ast.List)):
        same = isinstance(value, (ast.Tuple, ast.List)) and len(value.elts) == len(target.elts)
        for number, part in enumerate(target.elts):
            yield from _names(part, value.elts[number] if same else value)  # type: ignore[attr-defined]
