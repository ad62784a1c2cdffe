"""Symbols: what a program binds, defines, imports and calls. `symbol_collector` collects them in one walk.

Scopes and order are ignored: `bindings["model"]` holds every expression that any `model` is bound to. A parameter is bound
to the arguments of local calls. That is enough to tell a scaler from a classifier.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

from trl_mle.instrumentation.analysis.budget import spend

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
_BINDINGS_KEPT = 12
"""Expressions kept per name. It limits the work on programs that bind a name thousands of times."""


@dataclass(frozen=True)
class CallSite:
    """One call of a name, and the function and loops around it."""

    call: ast.Call
    function: FunctionNode | None
    """Innermost function around it."""
    loops: tuple[ast.AST, ...]
    """Loops and comprehensions between that function and the call, outermost first. A lambda counts as a loop."""


@dataclass
class Symbols:
    """The symbols of one program."""

    bindings: dict[str, list[ast.expr]] = field(default_factory=dict)
    """Name (or `.attribute`) -> expressions bound to it."""
    bound: set[str] = field(default_factory=set)
    """Names that are bound by other things than a definition: variables, parameters, imports."""
    scopes_that_bind: dict[str, set[int]] = field(default_factory=dict)
    """Name -> `id` of the functions that bind it otherwise than by a definition, 0 for the top level."""
    function_of: dict[int, FunctionNode | None] = field(default_factory=dict)
    """`id` of a call or a function -> the function around it."""
    unknown: set[str] = field(default_factory=set)
    """Names that may have a value that `bindings` does not hold: imports, parameters, `except ... as`, captures of `case`.
    With `from library import *`, it holds "*"."""
    replaced: dict[str, list[tuple[int, ast.expr]]] = field(default_factory=dict)
    """`name.attribute` -> line and value of the assignments to it that certainly run, at the top level of the program."""
    escaping: set[str] = field(default_factory=set)
    """Names whose object may be changed or kept elsewhere: given to a function, aliased, stored, returned, a method taken."""
    looked_at: set[int] = field(default_factory=set)
    """`id` of the names and calls whose object is only looked at where they stand."""
    redefined: set[str] = field(default_factory=set)
    """Names of several classes, or of several functions outside classes."""
    imports: dict[str, str] = field(default_factory=dict)
    """Local name -> dotted name it was imported as."""
    functions: dict[str, FunctionNode] = field(default_factory=dict)
    """Functions outside classes by name. Of two definitions of a name, the later one."""
    methods: dict[str, list[tuple[ast.ClassDef, FunctionNode]]] = field(default_factory=dict)
    classes: dict[str, ast.ClassDef] = field(default_factory=dict)
    calls: dict[str, list[CallSite]] = field(default_factory=dict)
    """Called name (`f`, or `.f` for a method) -> its calls."""
    references: set[str] = field(default_factory=set)
    """Names (`f`, or `.f`) that are used other than by calling them."""
    returns: dict[int, list[ast.expr]] = field(default_factory=dict)
    """`id` of a function -> the expressions it returns."""
    fitted_on: set[str] = field(default_factory=set)
    """Names in the arguments of `.fit(...)`. For a numbered item (`parts[0]`), its `item_key`."""
    held_out: set[str] = field(default_factory=set)
    """Names for the part of a split that is held out: every second result of `train_test_split`, the second index of
    `for a, b in folds.split(X)`."""
    splits: bool = False
    """Whether the program holds data out somewhere (a split or folds)."""

    def bind(self, name: str, value: ast.expr | None) -> None:
        """Note that `name` is bound to `value`."""
        if value is not None:
            known = self.bindings.setdefault(name, [])
            if len(known) < _BINDINGS_KEPT:
                known.append(value)

    def values_of(self, name: str) -> list[ast.expr]:
        """All expressions that the variable `name` is bound to. Empty if it may have another value."""
        values = self.bindings.get(name, [])
        other = name in self.unknown or name in self.functions or name in self.classes or "*" in self.unknown
        return values if self.is_complete(values) and not other else []

    def is_complete(self, values: list[ast.expr]) -> bool:
        """Whether no expression was left out of `values`, the bindings of a name."""
        return len(values) < _BINDINGS_KEPT

    def dotted(self, node: ast.AST) -> str:
        """Full name of what is called: `pandas.read_csv` for `pd.read_csv`. On a computed value it starts with `?.`."""
        if isinstance(node, ast.Name):
            return self.imports.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            parts = [node.attr]
            value = node.value
            while isinstance(value, ast.Attribute):
                spend()
                parts.append(value.attr)
                value = value.value
            parts.append(self.imports.get(value.id, value.id) if isinstance(value, ast.Name) else "?")
            return ".".join(reversed(parts))
        return "?"

    def local_function(self, call: ast.Call) -> FunctionNode | None:
        """The function or method of this program that `call` runs, if that is clear."""
        if isinstance(call.func, ast.Name):
            return self.functions.get(call.func.id)
        if isinstance(call.func, ast.Attribute):
            candidates = self.methods.get(call.func.attr, [])
            return candidates[0][1] if len(candidates) == 1 else None
        return None

    def all_functions(self) -> Iterator[FunctionNode]:
        """All functions and methods. Of several functions of one name, the last."""
        yield from self.functions.values()
        for methods in self.methods.values():
            yield from (node for _, node in methods)

    def bind_parameters(self) -> None:
        """Bind each parameter to its default and to the arguments of local calls."""
        defined: list[tuple[str, ast.ClassDef | None, FunctionNode]]
        defined = [(name, None, node) for name, node in self.functions.items()]
        defined += [(f".{name}", owner, node) for name, nodes in self.methods.items() for owner, node in nodes]
        for name, owner, node in defined:
            arguments = [*node.args.posonlyargs, *node.args.args]
            for argument, default in zip(reversed(arguments), reversed(node.args.defaults), strict=False):
                self.bind(argument.arg, default)
            for argument, keyword_default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
                self.bind(argument.arg, keyword_default)
            sites = self.calls.get(name, [])
            if owner is not None:
                arguments = arguments[1:]
                if node.name == "__init__":
                    sites = self.calls.get(owner.name, [])
            spend(1 + sum(len(site.call.args) + len(site.call.keywords) for site in sites[:_BINDINGS_KEPT]))
            for site in sites[:_BINDINGS_KEPT]:
                for argument, value in zip(arguments, site.call.args, strict=False):
                    self.bind(argument.arg, value)
                for keyword in site.call.keywords:
                    if keyword.arg is not None:
                        self.bind(keyword.arg, keyword.value)


def item_key(node: ast.AST) -> str | None:
    """`"parts[0]"` for the expression `parts[0]`. `None` for anything except a numbered item of a name."""
    match node:
        case ast.Subscript(value=ast.Name(id=name), slice=ast.Constant(value=int(number))):
            return f"{name}[{number}]"
    return None
