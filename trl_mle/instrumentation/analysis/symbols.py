"""Symbols: what a program binds, defines, imports and calls, collected in one walk.

Scopes and order are ignored: `bindings["model"]` holds every expression that any `model` is bound to. A parameter is bound
to the arguments of local calls. That is enough to tell a scaler from a classifier.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

from trl_mle.instrumentation.analysis.budget import spend
from trl_mle.instrumentation.analysis.uses import looked_at
from trl_mle.instrumentation.analysis.vocabulary import SPLIT_CALLS, SPLITTER_CLASS

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_SPLITTING = frozenset({"train_test_split", "random_split", ".train_test_split", ".random_split"})
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

    @classmethod
    def of(cls, tree: ast.Module) -> Symbols:
        """Collect the symbols of `tree`.

        Raises:
            RecursionError: the program is nested too deeply.
        """
        symbols = cls()
        for statement in tree.body:
            symbols._note_replacement(statement)
        _Collector(symbols).visit(tree)
        symbols._bind_parameters()
        return symbols

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

    def _note_replacement(self, statement: ast.stmt) -> None:
        match statement:
            case ast.Assign(targets=[ast.Attribute(value=ast.Name(id=name), attr=attribute)], value=value):
                self.replaced.setdefault(f"{name}.{attribute}", []).append((statement.lineno, value))

    def _bind_parameters(self) -> None:
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


class _Collector(ast.NodeVisitor):
    def __init__(self, symbols: Symbols):
        self.symbols = symbols
        self.function: FunctionNode | None = None
        self.owner: ast.ClassDef | None = None
        self.loops: tuple[ast.AST, ...] = ()
        self.parameters_of: FunctionNode | None = None

    def visit(self, node: ast.AST) -> None:
        self.symbols.looked_at.update(id(part) for part in looked_at(node) if isinstance(part, (ast.Name, ast.Call)))
        super().visit(node)

    def _add_bound(self, name: str, scope: FunctionNode | None = None) -> None:
        self.symbols.bound.add(name)
        scope = scope or self.function
        self.symbols.scopes_that_bind.setdefault(name, set()).add(id(scope) if scope is not None else 0)

    def visit_Global(self, node: ast.Global | ast.Nonlocal) -> None:
        for name in node.names:
            self.symbols.scopes_that_bind.setdefault(name, set()).add(0)

    visit_Nonlocal = visit_Global

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            local = alias.asname or alias.name.split(".")[0]
            self._add_bound(local)
            self.symbols.unknown.add(local)
            self.symbols.imports[local] = alias.name if alias.asname else local

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            self._add_bound(alias.asname or alias.name)
            self.symbols.unknown.add(alias.asname or alias.name)
            self.symbols.imports[alias.asname or alias.name] = f"{node.module or ''}.{alias.name}"

    def visit_FunctionDef(self, node: FunctionNode) -> None:
        if self.owner is not None:
            self.symbols.methods.setdefault(node.name, []).append((self.owner, node))
        else:
            if node.name in self.symbols.functions:
                self.symbols.redefined.add(node.name)
            self.symbols.functions[node.name] = node
        self.symbols.function_of[id(node)] = self.function
        for decorator in node.decorator_list:
            self.visit(decorator)
        surrounding, self.parameters_of = self.parameters_of, node
        self.visit(node.args)
        self.parameters_of = surrounding
        outer = self.function, self.owner, self.loops
        self.function, self.owner, self.loops = node, None, ()
        for statement in node.body:
            self.visit(statement)
        self.function, self.owner, self.loops = outer

    visit_AsyncFunctionDef = visit_FunctionDef  # type: ignore[assignment]

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        if node.name in self.symbols.classes:
            self.symbols.redefined.add(node.name)
        self.symbols.classes[node.name] = node
        for part in (*node.decorator_list, *node.bases, *node.keywords):
            self.visit(part)
        outer, self.owner = self.owner, node
        for statement in node.body:
            self.visit(statement)
        self.owner = outer

    def visit_Return(self, node: ast.Return) -> None:
        if self.function is not None and node.value is not None:
            self.symbols.returns.setdefault(id(self.function), []).append(node.value)
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            self._bind_target(target, node.value)
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._bind_target(node.target, node.value)
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._bind_target(node.target, node.value)
        self.generic_visit(node)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self._bind_target(node.target, node.value)
        self.generic_visit(node)

    def visit_withitem(self, node: ast.withitem) -> None:
        if node.optional_vars is not None:
            self._bind_target(node.optional_vars, node.context_expr)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        self.symbols.function_of[id(node)] = self.function
        name = _called_name(node.func)
        if name is not None:
            spend(1 + len(self.loops))
            self.symbols.calls.setdefault(name, []).append(CallSite(node, self.function, self.loops))
            plain = name.removeprefix(".")
            self.symbols.splits |= plain in SPLIT_CALLS or SPLITTER_CLASS.fullmatch(plain) is not None
            if name == ".fit":
                for value in (*node.args, *(keyword.value for keyword in node.keywords)):
                    names = [
                        inner.id for inner in (value, getattr(value, "value", None)) if isinstance(inner, ast.Name)
                    ]
                    key = item_key(value)
                    self.symbols.fitted_on.update(names if key is None else [key])
        if isinstance(node.func, ast.Attribute):
            self.visit(node.func.value)
        elif name is None:
            self.visit(node.func)
        for part in (*node.args, *node.keywords):
            self.visit(part)

    def visit_arg(self, node: ast.arg) -> None:
        self._add_bound(node.arg, self.parameters_of)
        self.symbols.unknown.add(node.arg)
        self.generic_visit(node)

    def visit_ExceptHandler(self, node: ast.ExceptHandler | ast.MatchAs | ast.MatchStar) -> None:
        if node.name is not None:
            self._add_bound(node.name)
            self.symbols.unknown.add(node.name)
        self.generic_visit(node)

    visit_MatchAs = visit_MatchStar = visit_ExceptHandler

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        if node.rest is not None:
            self._add_bound(node.rest)
            self.symbols.unknown.add(node.rest)
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self.symbols.references.add(node.id)
            if id(node) not in self.symbols.looked_at:
                self.symbols.escaping.add(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if isinstance(node.ctx, ast.Load):
            self.symbols.references.add(f".{node.attr}")
        self.visit(node.value)

    def generic_visit(self, node: ast.AST) -> None:
        if not isinstance(node, (ast.For, ast.AsyncFor, ast.While, ast.Lambda, *_COMPREHENSIONS)):
            super().generic_visit(node)
            return
        once: ast.expr | None = None  # what runs once, before the loop
        if isinstance(node, (ast.For, ast.AsyncFor)):
            self._bind_target(node.target, node.iter)
            self._bind_folds(node.target, node.iter)
            once = node.iter
        elif isinstance(node, _COMPREHENSIONS):
            once = node.generators[0].iter
        if once is not None:
            self.visit(once)
        outer, self.loops = self.loops, (*self.loops, node)
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.comprehension):
                self._bind_target(child.target, child.iter)
                for part in (child.iter, *child.ifs):
                    if part is not once:
                        self.visit(part)
            elif child is not once:
                self.visit(child)
        self.loops = outer

    def _bind_folds(self, target: ast.expr, iterable: ast.expr) -> None:
        if not isinstance(iterable, ast.Call) or not isinstance(target, ast.Tuple) or len(target.elts) != 2:
            return
        second = target.elts[1]
        if _called_name(iterable.func) == "enumerate" and iterable.args:
            self._bind_folds(second, iterable.args[0])
        elif _called_name(iterable.func) == ".split" and iterable.args and isinstance(second, ast.Name):
            self.symbols.held_out.add(second.id)

    def _bind_target(self, target: ast.expr, value: ast.expr | None) -> None:
        spend()
        if isinstance(target, ast.Name):
            self._add_bound(target.id)
            self.symbols.bind(target.id, value)
        elif isinstance(target, ast.Attribute):
            self.symbols.bind(f".{target.attr}", value)
        elif isinstance(target, ast.Subscript):
            # models["lr"] = LogisticRegression(): the container holds the value
            if value is not None and isinstance(target.value, ast.Name):
                self.symbols.bind(f"[{target.value.id}]", value)
        elif isinstance(target, ast.Starred):
            self._bind_target(target.value, value)
        elif isinstance(target, (ast.Tuple, ast.List)):
            same = (
                isinstance(value, (ast.Tuple, ast.List))
                and len(value.elts) == len(target.elts)
                and not any(isinstance(part, ast.Starred) for part in target.elts)
            )
            if isinstance(value, ast.Call) and _called_name(value.func) in _SPLITTING:
                self.symbols.held_out.update(part.id for part in target.elts[1::2] if isinstance(part, ast.Name))
            for number, element in enumerate(target.elts):
                self._bind_target(element, value.elts[number] if same else value)  # type: ignore[union-attr]


def item_key(node: ast.AST) -> str | None:
    """`"parts[0]"` for the expression `parts[0]`. `None` for anything except a numbered item of a name."""
    match node:
        case ast.Subscript(value=ast.Name(id=name), slice=ast.Constant(value=int(number))):
            return f"{name}[{number}]"
    return None


def _called_name(func: ast.expr) -> str | None:
    if isinstance(func, ast.Name):
        return func.id
    return f".{func.attr}" if isinstance(func, ast.Attribute) else None
