"""Constants: conditions and loops whose outcome the text shows, such as `while 0 > 1` or a loop over `range(n)` with `n = 0`."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

from trl_mle.instrumentation.analysis.budget import spend, walk
from trl_mle.instrumentation.analysis.dynamic_names import binds_any_name
from trl_mle.instrumentation.analysis.symbols import Symbols
from trl_mle.instrumentation.analysis.uses import LOOKING
from trl_mle.instrumentation.analysis.vocabulary import PASS_THROUGH_ITERATORS

_DEPTH = 4
_LARGE = 2**63
"""From here on, a number says nothing."""
_SUMS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Div: operator.truediv,
}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
}
_SINGLE = (None, True, False)
"""Values of which there is one object, so that `is` compares them as `==` does."""
_UNKNOWN = object()
_EMPTY_MAKERS = frozenset({"list", "tuple", "set", "dict", "frozenset", "str", "bytes", "bytearray"})
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
            case ast.Compare(
                left=ast.Name(id="__name__") as name, ops=[ast.Eq()], comparators=[ast.Constant() as text]
            ) | (
                ast.Compare(left=ast.Constant() as text, ops=[ast.Eq()], comparators=[ast.Name(id="__name__") as name])
            ):
                return None if name.id in self.symbols.bindings else text.value == "__main__"
            case ast.Compare(left=left, ops=comparisons, comparators=rights):
                pairs = zip([left, *rights], comparisons, rights, strict=False)
                truths = [self._compare(one, comparison, other, depth) for one, comparison, other in pairs]
                return False if False in truths else None if None in truths else True
            case ast.IfExp(test=choice, body=body, orelse=orelse):
                chosen = self.truth(choice, depth - 1)
                if chosen is not None:
                    return self.truth(body if chosen else orelse, depth - 1)
                truths = [self.truth(part, depth - 1) for part in (body, orelse)]
                return truths[0] if truths[0] is truths[1] else None
            case ast.NamedExpr(value=value):
                return self.truth(value, depth - 1)
            case ast.Call(func=ast.Name(id="any" | "all" | "len" | "bool" as called), args=[inner]) if (
                not self._is_own(called)
            ):
                if self.is_empty(inner, depth - 1) and (called != "bool" or _is_sized(inner)):
                    return called == "all"
                return self.truth(inner, depth - 1) if called == "bool" else None
            case ast.List() | ast.Tuple() | ast.Set() | ast.Dict() | ast.JoinedStr() if self.is_empty(test):
                return False
        value = self._value(test, depth)
        return None if value is _UNKNOWN else bool(value)

    def _compare(self, left: ast.expr, comparison: ast.cmpop, right: ast.expr, depth: int) -> bool | None:
        one = self._value(left, depth - 1)
        if isinstance(comparison, (ast.In, ast.NotIn)):
            items = [one, *self._items(right, depth)]
            if self.is_empty(right, depth - 1):
                found = False
            elif len(items) == 1 or _UNKNOWN in items:
                return None
            else:
                found = one in items[1:]
            return found is isinstance(comparison, ast.In)
        other = self._value(right, depth - 1)
        if one is _UNKNOWN or other is _UNKNOWN or type(comparison) not in _COMPARISONS:
            return None
        if isinstance(comparison, (ast.Is, ast.IsNot)) and not any(
            one is value or other is value for value in _SINGLE
        ):
            return None
        try:
            return bool(_COMPARISONS[type(comparison)](one, other))
        except TypeError:
            return None

    def _items(self, node: ast.expr, depth: int) -> list[Any]:
        return (
            [self._value(part, depth - 1) for part in node.elts]
            if isinstance(node, (ast.Tuple, ast.List, ast.Set))
            else []
        )

    def _value(self, node: ast.expr, depth: int) -> Any:
        """The number, text, truth value or `None` that `node` is, else `_UNKNOWN`."""
        spend()
        if depth == 0:
            return _UNKNOWN
        match node:
            case ast.Constant(value=value):
                # A number with hundreds of digits is no float.
                return _UNKNOWN if isinstance(value, int) and abs(value) >= _LARGE else value
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() as op, operand=operand):
                value = self._value(operand, depth - 1)
                if not isinstance(value, (int, float)):
                    return _UNKNOWN
                return -value if isinstance(op, ast.USub) else value
            case ast.UnaryOp(op=ast.Not()) | ast.Compare() | ast.BoolOp():
                # `1 < 2` is a truth value, while `a or b` is one of the two.
                truth = None if isinstance(node, ast.BoolOp) else self.truth(node, depth - 1)
                return _UNKNOWN if truth is None else truth
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _SUMS:
                return self._sum(self._value(left, depth - 1), op, self._value(right, depth - 1))
            case ast.Call(func=ast.Name(id="len"), args=[inner]) if not self._is_own("len"):
                return 0 if self.is_empty(inner, depth - 1) else _UNKNOWN
            case ast.Call(func=ast.Name(id="int" | "float" | "bool" | "str" as name), args=[], keywords=[]) if (
                not self._is_own(name)
            ):
                return {"int": 0, "float": 0.0, "bool": False, "str": ""}[name]
            case ast.Call(func=ast.Name(id="int"), args=[inner], keywords=[]) if not self._is_own("int"):
                value = self._value(inner, depth - 1)
                return int(value) if isinstance(value, (int, float)) and abs(value) < _LARGE else _UNKNOWN
            case ast.Call(func=ast.Name(id="min" | "max" as name), args=[_, _, *_] as parts, keywords=[]) if (
                not self._is_own(name)
            ):
                values = [self._value(part, depth - 1) for part in parts]
                if not all(isinstance(value, (int, float)) for value in values):
                    return _UNKNOWN
                return min(values) if name == "min" else max(values)
            case ast.NamedExpr(value=inner):
                return self._value(inner, depth - 1)
            case ast.Name(id=name):
                only = self._only_value(name)
                return _UNKNOWN if only is None else self._value(only, depth - 1)
        return _UNKNOWN

    @staticmethod
    def _sum(one: Any, op: ast.operator, other: Any) -> Any:
        if not (isinstance(one, (int, float)) and isinstance(other, (int, float))):
            return _UNKNOWN
        try:
            result = _SUMS[type(op)](one, other)
        except ArithmeticError:
            return _UNKNOWN
        return result if abs(result) < _LARGE else _UNKNOWN

    def number(self, node: ast.expr, depth: int = _DEPTH) -> int | None:
        """The whole number that `node` is."""
        value = self._value(node, depth)
        return value if isinstance(value, int) else None

    def is_empty(self, node: ast.expr, depth: int = _DEPTH) -> bool:
        """Whether a loop over `node` certainly has no iteration."""
        spend()
        if depth == 0:
            return False
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and self._is_own(node.func.id):
            return False
        match node:
            case ast.Dict(keys=[]) | ast.Constant(value="" | b"") | ast.JoinedStr(values=[]):
                return True
            case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts):
                return all(isinstance(part, ast.Starred) and self.is_empty(part.value, depth - 1) for part in parts)
            case ast.Subscript(value=value, slice=ast.Slice() as rows):
                # A frame has columns, however few rows it has.
                whole = self._only_value(value.id) if isinstance(value, ast.Name) else value
                is_first = isinstance(value, ast.Name) and not isinstance(whole, (ast.Tuple, ast.Constant))
                return self.is_empty(value, depth - 1) or self._takes_nothing(whole, rows, nothing_at_all=is_first)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return self.is_empty(left, depth - 1) and self.is_empty(right, depth - 1)
            case ast.BinOp(
                left=ast.List() | ast.Tuple() | ast.Constant(value=str() | bytes()) as left, op=ast.Mult(), right=right
            ):
                times = self.number(right, depth - 1)
                return self.is_empty(left, depth - 1) or (times is not None and times <= 0)
            case ast.BoolOp(op=op, values=values):
                if isinstance(op, ast.And) and self.is_empty(values[0], depth - 1) and _is_sized(values[0]):
                    return True
                return all(self.is_empty(value, depth - 1) for value in values)
            case ast.IfExp(test=test, body=body, orelse=orelse):
                truth = self.truth(test, depth - 1)
                choices = [body, orelse] if truth is None else [body if truth else orelse]
                return all(self.is_empty(part, depth - 1) for part in choices)
            case ast.NamedExpr(value=value):
                return self.is_empty(value, depth - 1)
            case (
                ast.ListComp(generators=parts)
                | ast.SetComp(generators=parts)
                | ast.DictComp(generators=parts)
                | (ast.GeneratorExp(generators=parts))
            ):
                return self.is_empty(parts[0].iter, depth - 1)
            case ast.Call(func=ast.Name(id="range"), args=[_, *_] as bounds):
                numbers = [self.number(bound) for bound in bounds]
                return None not in numbers and _is_empty_range(numbers)  # type: ignore[arg-type]
            case ast.Call(func=ast.Name(id=name), args=[], keywords=[]) if name in _EMPTY_MAKERS:
                return True
            case ast.Call(func=ast.Name(id="zip" | "map" as name), args=[_, *_] as parts):
                return any(self.is_empty(part, depth - 1) for part in (parts if name == "zip" else parts[1:]))
            case ast.Call(func=ast.Name(id="filter"), args=[test, values]):
                truths = [self.truth(part, depth - 1) for part in getattr(values, "elts", [None])]
                nothing_true = (
                    isinstance(test, ast.Constant) and test.value is None and not {None, True}.intersection(truths)
                )
                return self.is_empty(values, depth - 1) or nothing_true
            case ast.Call(
                func=ast.Attribute(value=ast.Constant(value=""), attr="split" | "splitlines"), args=[], keywords=[]
            ):
                return True
            case ast.Call(func=ast.Attribute(value=ast.Name(id="dict"), attr="fromkeys"), args=[first, *_]):
                return self.is_empty(first, depth - 1)
            case ast.Call(func=func, args=[first, *rest], keywords=[]) if (
                dotted := self.symbols.dotted(func)
            ).startswith("itertools."):
                if dotted == "itertools.product":
                    return any(self.is_empty(part, depth - 1) for part in (first, *rest))
                stops = len(rest) == 1 and self.number(rest[0], depth - 1) == 0
                return dotted == "itertools.islice" and (stops or self.is_empty(first, depth - 1))
            case ast.Call(func=ast.Name(id=name), args=[first, *_]) if name in PASS_THROUGH_ITERATORS | {"iter"}:
                return self.is_empty(first, depth - 1)
            case ast.Call(func=ast.Attribute(attr="items" | "values" | "keys", value=value), args=[]):
                return self.is_empty(value, depth - 1)
            case ast.Name(id=name):
                only = self._only_value(name)
                # A list may be filled by whom it is given to: see `may_be_empty`.
                return isinstance(only, (ast.Tuple, ast.Constant)) and self.is_empty(only, depth - 1)
        return False

    def _takes_nothing(self, whole: ast.expr | None, rows: ast.Slice, nothing_at_all: bool) -> bool:
        """Whether the slice `rows` of the literal `whole` has no item, whatever is in it, if `nothing_at_all`."""
        if not isinstance(whole, (ast.List, ast.ListComp, ast.Tuple, ast.Constant)):
            return False
        bounds = [None if part is None else self.number(part) for part in (rows.lower, rows.upper, rows.step)]
        if rows.lower is None and rows.step is None and bounds[1] == 0:
            return True
        is_known = all(
            (part is None) == (bound is None)
            for part, bound in zip((rows.lower, rows.upper, rows.step), bounds, strict=True)
        )
        items = getattr(whole, "elts", getattr(whole, "value", None))
        if nothing_at_all or not is_known or bounds[2] == 0 or not isinstance(items, (list, str, bytes)):
            return False
        spend(len(items) if isinstance(items, list) else len(items) >> 8)
        is_whole = not isinstance(items, list) or not any(isinstance(item, ast.Starred) for item in items)
        return is_whole and not items[slice(*bounds)]

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


def _is_sized(empty: ast.expr) -> bool:
    """Whether `empty`, over which a loop has no iteration, is certainly false. Iterators, such as `zip([])`, are true."""
    return not any(
        isinstance(part, ast.GeneratorExp) or (isinstance(part, ast.Call) and bool(part.args)) for part in walk(empty)
    )


def _is_empty_range(bounds: list[int]) -> bool:
    try:
        return not range(*bounds)
    except (TypeError, ValueError, OverflowError):
        return False
