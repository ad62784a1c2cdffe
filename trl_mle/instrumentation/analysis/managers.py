"""Context managers: whether one may end an exception of its block, so that what follows runs although the block has not ended."""

from __future__ import annotations

import ast

from trl_mle.instrumentation.analysis import vocabulary
from trl_mle.instrumentation.analysis.budget import spend, walk
from trl_mle.instrumentation.analysis.scopes import defined, leaves, own_nodes
from trl_mle.instrumentation.analysis.symbols import FunctionNode, Symbols

_DEPTH = 4


def may_swallow(symbols: Symbols, manager: ast.expr, depth: int = _DEPTH) -> bool:
    """Whether the context manager `manager` may end an exception of its block."""
    spend()
    if depth == 0:
        return False
    values: list[ast.expr]
    match manager:
        case ast.Call(func=func, args=arguments):
            return _makes_swallower(symbols, func, arguments, depth)
        case ast.Name(id=name):
            values = symbols.bindings.get(name, [])
        case ast.Attribute(attr=name):
            values = symbols.bindings.get(f".{name}", [])
        case ast.NamedExpr(value=value) | ast.Subscript(value=value) | ast.Await(value=value):
            values = [value]
        case ast.IfExp(body=body, orelse=orelse):
            values = [body, orelse]
        case ast.BoolOp(values=values) | ast.List(elts=values) | ast.Tuple(elts=values) | ast.Dict(values=values):
            pass
        case _:
            return False
    return any(may_swallow(symbols, value, depth - 1) for value in values)


def _makes_swallower(symbols: Symbols, func: ast.expr, arguments: list[ast.expr], depth: int) -> bool:
    """Whether `func(...)` may be a context manager that ends exceptions."""
    spend()
    if depth == 0:
        return False
    name = symbols.dotted(func).rpartition(".")[2]
    if name in vocabulary.SWALLOWERS:
        return True
    if name == "partial" or isinstance(func, ast.Call):  # partial(suppress, Exception)(), contextmanager(quiet)()
        given = [*arguments, *(func.args if isinstance(func, ast.Call) else [])]
        return any(_makes_swallower(symbols, part, [], depth - 1) for part in given)
    if isinstance(func, ast.Lambda):
        return may_swallow(symbols, func.body, depth - 1)
    if name in symbols.classes:
        return _class_swallows(symbols, symbols.classes[name], depth)
    functions: list[FunctionNode] = []
    if isinstance(func, ast.Name):
        functions = [symbols.functions[name]] if name in symbols.functions else []
        values = symbols.bindings.get(name, [])
        if any(_makes_swallower(symbols, value, [], depth - 1) for value in values):
            return True
    elif isinstance(func, ast.Attribute):
        functions = [method for _, method in symbols.methods.get(name, [])]
    return any(_function_swallows(symbols, function, depth) for function in functions)


def _class_swallows(symbols: Symbols, owner: ast.ClassDef, depth: int) -> bool:
    """Whether an instance of `owner` may end exceptions, by a method of its own or of a base."""
    spend(1 + len(owner.bases))
    for name in ("__exit__", "__aexit__"):
        for node in defined(owner, name):
            if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) or _may_return_true(node):
                return True
    for base in owner.bases:
        name = symbols.dotted(base).rpartition(".")[2]
        if name in vocabulary.SWALLOWERS:
            return True
        if depth and name in symbols.classes and _class_swallows(symbols, symbols.classes[name], depth - 1):
            return True
    return False


def _function_swallows(symbols: Symbols, function: FunctionNode, depth: int) -> bool:
    returned = symbols.returns.get(id(function), [])
    return ends_exceptions(function) or any(may_swallow(symbols, value, depth - 1) for value in returned)


def ends_exceptions(function: FunctionNode) -> bool:
    """Whether the text of `function` has a handler that does not raise again, or a `finally` that leaves."""
    return any(
        (isinstance(node, ast.ExceptHandler) and (not isinstance(node.body[-1], ast.Raise) or leaves(node.body)))
        or (isinstance(node, (ast.Try, ast.TryStar)) and leaves(node.finalbody))
        for node in walk(function)
    )


def _may_return_true(method: FunctionNode) -> bool:
    values = [node.value for node in own_nodes(method.body) if isinstance(node, ast.Return) and node.value is not None]
    error = {part.arg for part in method.args.args[1:]}
    return any(not _is_false_for_errors(value, error) for value in values)


def _is_false_for_errors(value: ast.expr, error: set[str]) -> bool:
    """Whether a result of `__exit__` is false while there is an exception: `return kind is None`."""
    match value:
        case ast.Constant():
            return not value.value
        case ast.Compare(left=ast.Name(id=name), ops=[ast.Is()], comparators=[ast.Constant(value=None)]):
            return name in error
    return False
