"""Constants: conditions and loops whose outcome the text shows, such as `while 0 > 1` or a loop over `range(n)` with `n = 0`."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable

from trl_mle.instrumentation.analysis.budget import spend
from trl_mle.instrumentation.analysis.dynamic_names import binds_any_name
from trl_mle.instrumentation.analysis.symbols import Symbols
from trl_mle.instrumentation.analysis.uses import LOOKING
from trl_mle.instrumentation.analysis.vocabulary import PASS_THROUGH_ITERATORS

_DEPTH = 4
_LARGE = 2**63
"""From here on, a number says nothing."""
_SUMS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
}
_COMPARISONS: dict[type[ast.cmpop], Callable[[int, int], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_GROWING = (".append", ".extend", ".insert", ".add", ".update", ".setdefault", ".appendleft")


class Constants:
    """Evaluates the constant expressions of one program. A variable counts if it is bound once.

    Args:
        certain (`bool`):
            Whether what may be otherwise, such as the default of a parameter, is unknown. An estimate takes it as it is written.
    """

    def __init__(self, symbols: Symbols, *, certain: bool = True):
        self.symbols = symbols
        self._certain = certain
        self._binds_any_name = binds_any_name(symbols)

    def truth(self, test: ast.expr, depth: int = _DEPTH) -> bool | None:
        """The value of a condition, `None` if the text does not show it. The program runs as `__main__`."""
        spend()
        if depth == 0:
            return None
        match test:
            case ast.Constant(value=value):
                return bool(value)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                inner = self.truth(operand, depth - 1)
                return None if inner is None else not inner
            case ast.BoolOp(op=op, values=values):
                decisive = isinstance(op, ast.Or)
                truths = [self.truth(value, depth - 1) for value in values]
                if decisive in truths:
                    return decisive
                return None if None in truths else not decisive
            case ast.Compare(left=ast.Name(id="__name__"), ops=[ast.Eq()], comparators=[ast.Constant(value=name)]):
                return None if "__name__" in self.symbols.bindings else name == "__main__"
            case ast.Compare(left=left, ops=[comparison], comparators=[right]):
                one, other = self.number(left), self.number(right)
                compare = _COMPARISONS.get(type(comparison))
                return None if one is None or other is None or compare is None else compare(one, other)
            case ast.Name():
                only = self._only_value(test.id)
                return self.truth(only, depth - 1) if isinstance(only, ast.Constant) else None
            case ast.List() | ast.Tuple() | ast.Set() | ast.Dict() if self.is_empty(test):
                return False
        return None

    def number(self, node: ast.expr, depth: int = _DEPTH) -> int | None:
        """The whole number that `node` is."""
        spend()
        if depth == 0:
            return None
        match node:
            case ast.Constant(value=int(value)):
                # A number with hundreds of digits is no float.
                return value if abs(value) < _LARGE else None
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                positive = self.number(operand, depth - 1)
                return None if positive is None else -positive
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _SUMS:
                one, other = self.number(left, depth - 1), self.number(right, depth - 1)
                result = None if one is None or other is None else _SUMS[type(op)](one, other)
                return result if result is not None and abs(result) < _LARGE else None
            case ast.Call(func=ast.Name(id="len"), args=[inner]) if not self._is_own("len"):
                return 0 if self.is_empty(inner, depth - 1) else None
            case ast.Name(id=name):
                only = self._only_value(name)
                return None if only is None else self.number(only, depth - 1)
        return None

    def is_empty(self, node: ast.expr, depth: int = _DEPTH) -> bool:
        """Whether a loop over `node` certainly has no iteration."""
        spend()
        if depth == 0:
            return False
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and self._is_own(node.func.id):
            return False
        match node:
            case ast.List(elts=[]) | ast.Tuple(elts=[]) | ast.Dict(keys=[]) | ast.Constant(value="" | b""):
                return True
            case ast.Subscript(value=value, slice=ast.Slice(lower=None, upper=ast.Constant(value=0), step=None)):
                # A frame has columns, however few rows it has.
                whole = self._only_value(value.id) if isinstance(value, ast.Name) else value
                return isinstance(whole, (ast.List, ast.ListComp, ast.Tuple, ast.Constant))
            case ast.Subscript(value=value, slice=ast.Slice()):
                return self.is_empty(value, depth - 1)
            case ast.Call(func=ast.Name(id="range"), args=[_, *_] as bounds):
                numbers = [self.number(bound) for bound in bounds]
                return None not in numbers and _is_empty_range(numbers)  # type: ignore[arg-type]
            case ast.Call(func=ast.Name(id="list" | "tuple" | "set" | "dict" | "frozenset"), args=[], keywords=[]):
                return True
            case ast.Call(func=ast.Name(id=name), args=[first, *_]) if name in PASS_THROUGH_ITERATORS | {
                "zip",
                "iter",
            }:
                return self.is_empty(first, depth - 1)
            case ast.Call(func=ast.Attribute(attr="items" | "values" | "keys", value=value), args=[]):
                return self.is_empty(value, depth - 1)
            case ast.Name(id=name):
                only = self._only_value(name)
                # A list may be filled by whom it is given to: see `may_be_empty`.
                return isinstance(only, (ast.Tuple, ast.Constant)) and self.is_empty(only, depth - 1)
        return False

    def may_be_empty(self, node: ast.expr) -> bool:
        """Whether `node` is a variable for a container that begins empty and into which the text puts nothing."""
        if not isinstance(node, ast.Name) or self.grows(node.id):
            return False
        if self._binds_any_name or node.id in self.symbols.escaping or any(map(self._is_own, LOOKING)):
            return False
        values = self.symbols.values_of(node.id)
        return bool(values) and all(self.is_empty(value) for value in values)

    def grows(self, name: str) -> bool:
        """Whether a method of the container `name` adds something to it."""
        sites = (site for method in _GROWING for site in self.symbols.calls.get(method, []))
        spend(sum(len(self.symbols.calls.get(method, [])) for method in _GROWING))
        receivers = (site.call.func.value for site in sites if isinstance(site.call.func, ast.Attribute))
        return f"[{name}]" in self.symbols.bindings or any(
            isinstance(receiver, ast.Name) and receiver.id == name for receiver in receivers
        )

    def _only_value(self, name: str) -> ast.expr | None:
        if not self._certain:
            values = self.symbols.bindings.get(name, [])
        else:
            values = [] if self._binds_any_name else self.symbols.values_of(name)
        return values[0] if len(values) == 1 else None

    def _is_own(self, name: str) -> bool:
        """Whether the program gives the name of a built-in function another meaning."""
        return any(name in names for names in (self.symbols.bindings, self.symbols.functions, self.symbols.classes))


def _is_empty_range(bounds: list[int]) -> bool:
    try:
        return not range(*bounds)
    except (TypeError, ValueError, OverflowError):
        return False
