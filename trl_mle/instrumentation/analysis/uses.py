"""Uses: what an expression does with the objects that its parts are."""

from __future__ import annotations

import ast
from collections.abc import Iterable

LOOKING = frozenset(
    {
        "all", "any", "bool", "dict", "enumerate", "frozenset", "len", "list", "max", "min", "print", "repr", "reversed", "set",
        "sorted", "str", "sum", "tqdm", "tuple", "zip",
    }
)  # fmt: skip
"""Functions that change none of their arguments and keep none."""
_LOOKING_METHODS = frozenset(
    {"items", "values", "keys", "get", "copy", "index", "count", "sort", "reverse", "pop", "clear"}
)
"""Methods that put nothing into their container."""


def looked_at(node: ast.AST) -> Iterable[ast.AST]:
    """The parts of `node` whose object is only looked at by it: iterated over, counted, compared, copied, printed."""
    match node:
        case ast.For() | ast.AsyncFor():
            return [node.iter]
        case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
            return [part.iter for part in node.generators]
        case ast.Call():
            unpacked = [part.value for part in node.args if isinstance(part, ast.Starred)]
            unpacked += [keyword.value for keyword in node.keywords if keyword.arg is None]
            looks = isinstance(node.func, ast.Name) and node.func.id in LOOKING
            return [*unpacked, *node.args] if looks else unpacked
        case ast.Attribute() if node.attr in _LOOKING_METHODS:
            return [node.value]
        case ast.Subscript(ctx=ast.Load() | ast.Del()):
            return [node.value]
        case ast.If() | ast.While() | ast.Assert():
            return [node.test]
        case ast.Compare():
            return [node.left, *node.comparators]
        case ast.BinOp():
            return [node.left, node.right]
        case ast.UnaryOp():
            return [node.operand]
        case ast.FormattedValue() | ast.Expr():
            return [node.value]
    return []
