"""Symbol collector: the walk over a program that finds its `Symbols`."""

from __future__ import annotations

import ast

from trl_mle.instrumentation.analysis.budget import spend
from trl_mle.instrumentation.analysis.symbols import CallSite, FunctionNode, Symbols, item_key
from trl_mle.instrumentation.analysis.uses import looked_at
from trl_mle.instrumentation.analysis.vocabulary import SPLIT_CALLS, SPLITTER_CLASS

_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_SPLITTING = frozenset({"train_test_split", "random_split", ".train_test_split", ".random_split"})


def symbols_of(tree: ast.Module) -> Symbols:
    """Collect the symbols of `tree`.

    Raises:
        RecursionError: the program is nested too deeply.
    """
    symbols = Symbols()
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=[ast.Attribute(value=ast.Name(id=name), attr=attribute)], value=value):
                symbols.replaced.setdefault(f"{name}.{attribute}", []).append((statement.lineno, value))
    _Collector(symbols).visit(tree)
    symbols.bind_parameters()
    return symbols


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
        if len(node.targets) > 1:  # `a = b = []` is one list
            self.symbols.escaping.update(target.id for target in node.targets if isinstance(target, ast.Name))
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


def _called_name(func: ast.expr) -> str | None:
    if isinstance(func, ast.Name):
        return func.id
    return f".{func.attr}" if isinstance(func, ast.Attribute) else None
