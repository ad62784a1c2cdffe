"""Own code: what a call of a function, class or context manager of the program certainly does.

A program may give a function a name that means a milestone, bind the name again, or wrap the function so that it never runs.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from trl_mle.instrumentation.analysis import vocabulary
from trl_mle.instrumentation.analysis.budget import spend, walk
from trl_mle.instrumentation.analysis.name_bindings import BINDS_ANY_ATTRIBUTE, BINDS_ANY_NAME
from trl_mle.instrumentation.analysis.symbols import FunctionNode, Symbols

_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
_WORK = (
    ast.Call, ast.BinOp, ast.Compare, ast.AugAssign, ast.For, ast.AsyncFor, ast.While, ast.Subscript,
    ast.ListComp, ast.SetComp, ast.DictComp,
)  # fmt: skip
"""A body without any of these computes nothing."""
_OF_BUILTIN_TYPES = frozenset(
    name for kind in (list, dict, set, str, bytes, int, float, tuple, object) for name in dir(kind)
)
_LITERALS = (
    ast.Constant,
    ast.JoinedStr,
    ast.List,
    ast.Tuple,
    ast.Dict,
    ast.Set,
    ast.ListComp,
    ast.DictComp,
    ast.SetComp,
)
_DEPTH = 3
_BINDS_ANY = (BINDS_ANY_NAME - {"eval", "compile"}) | {f".{name}" for name in BINDS_ANY_ATTRIBUTE}


class OwnCode:
    """Resolves the calls of one program."""

    def __init__(self, symbols: Symbols):
        self.symbols = symbols
        used = symbols.references.union(symbols.calls)
        self.binds_any_name = not used.isdisjoint(_BINDS_ANY)
        """Whether the program can bind names that its text does not name."""
        self._runs_on_call: dict[int, bool] = {}
        self._idle: dict[int, bool] = {}
        self._passes_on: dict[str, bool] = {}

    def is_certain(self, call: ast.Call, function: FunctionNode) -> bool:
        """Whether `call` certainly runs the body of `function`, which has the name that is called."""
        if self.binds_any_name or not self._runs_when_called(function):
            return False
        if isinstance(call.func, ast.Name):
            return self._is_defined_once(call.func.id) and call.func.id not in self.symbols.classes
        if not isinstance(call.func, ast.Attribute) or f".{function.name}" in self.symbols.bindings:
            return False
        receiver = call.func.value
        if (owner := self.class_of(receiver)) is not None:
            spend(len(owner.body))
            return function in owner.body
        # `time.sleep(1)` and `[].append(1)` call no method of the program, whatever its classes define.
        is_foreign = isinstance(receiver, _LITERALS) or (
            isinstance(receiver, ast.Name) and receiver.id in self.symbols.imports
        )
        return not is_foreign and function.name not in _OF_BUILTIN_TYPES

    def makes_instance(self, owner: ast.ClassDef) -> bool:
        """Whether a call of the name of `owner` certainly runs its `__init__`."""
        spend(len(owner.body))
        makes_itself = any(isinstance(part, _SCOPES) and getattr(part, "name", "") == "__new__" for part in owner.body)
        return (
            not (self.binds_any_name or makes_itself or owner.keywords or owner.name in self.symbols.functions)
            and all(map(self._runs_function, owner.decorator_list))
            and self._is_defined_once(owner.name)
        )

    def _is_defined_once(self, name: str) -> bool:
        return name not in self.symbols.bound and name not in self.symbols.redefined

    def class_of(self, receiver: ast.expr) -> ast.ClassDef | None:
        """The class of the program that `receiver` is, or is an instance of, if the text shows it."""
        values = [receiver]
        if isinstance(receiver, ast.Name) and receiver.id in self.symbols.classes:
            return self.symbols.classes[receiver.id]
        if isinstance(receiver, ast.Name):
            values = self.symbols.bindings.get(receiver.id, [])
        for value in values:
            if (
                isinstance(value, ast.Call)
                and isinstance(value.func, ast.Name)
                and value.func.id in self.symbols.classes
            ):
                return self.symbols.classes[value.func.id]
        return None

    def does_nothing(self, call: ast.Call) -> bool:
        """Whether `call` is of a function of the program that computes nothing, whatever its name says."""
        if isinstance(call.func, ast.Name):
            return self._is_idle_name(call.func.id, _DEPTH)
        if not isinstance(call.func, ast.Attribute):
            return False
        replacements = self.symbols.bindings.get(f".{call.func.attr}", [])
        if replacements and all(self._is_idle_value(value, _DEPTH) for value in replacements):
            return True
        owner = self.class_of(call.func.value)
        return owner is not None and self._is_idle_method(owner, call.func.attr, _DEPTH)

    def _is_idle_name(self, name: str, depth: int) -> bool:
        values = self.symbols.bindings.get(name, [])
        function = self.symbols.functions.get(name)
        return (bool(values) or function is not None) and (
            all(self._is_idle_value(value, depth) for value in values)
            and (function is None or self._is_idle(function))
        )

    def _is_idle_value(self, value: ast.expr, depth: int) -> bool:
        spend()
        if isinstance(value, ast.Name):
            return depth > 0 and self._is_idle_name(value.id, depth - 1)
        return isinstance(value, (ast.Lambda, ast.Constant)) and self._is_idle(value)

    def _is_idle_method(self, owner: ast.ClassDef, name: str, depth: int) -> bool:
        """Whether the method `name` of `owner`, its own or inherited, computes nothing. A class of a library does."""
        spend(1 + len(owner.body))
        methods = [part for part in owner.body if isinstance(part, _SCOPES) and getattr(part, "name", "") == name]
        if methods:
            return all(map(self._is_idle, methods))
        # With no method of that name, it is nothing, or what the class binds to the name.
        bases = [self.symbols.classes.get(self.symbols.dotted(base)) for base in owner.bases]
        return all(base is not None and depth > 0 and self._is_idle_method(base, name, depth - 1) for base in bases)

    def may_swallow(self, manager: ast.expr, depth: int = _DEPTH) -> bool:
        """Whether the context manager `manager` may end an exception of its block."""
        spend()
        if isinstance(manager, ast.Name) and depth:
            return any(self.may_swallow(value, depth - 1) for value in self.symbols.bindings.get(manager.id, []))
        if not isinstance(manager, ast.Call):
            return False
        name = self.symbols.dotted(manager.func).rpartition(".")[2]
        if name in vocabulary.SWALLOWERS:
            return True
        if name in self.symbols.classes:
            methods = self.symbols.methods.get("__exit__", []) + self.symbols.methods.get("__aexit__", [])
            spend(len(methods))
            return any(owner.name == name and _may_return_true(method) for owner, method in methods)
        function = self.symbols.functions.get(name)
        return function is not None and any(isinstance(node, ast.ExceptHandler) for node in walk(function))

    def _runs_when_called(self, function: FunctionNode) -> bool:
        """Whether a call runs the body: `function` is no generator, and its decorators keep it."""
        if id(function) not in self._runs_on_call:
            nodes = own_nodes(function.body)
            is_generator = any(isinstance(node, (ast.Yield, ast.YieldFrom)) for node in nodes)
            self._runs_on_call[id(function)] = not is_generator and all(
                map(self._runs_function, function.decorator_list)
            )
        return self._runs_on_call[id(function)]

    def _is_idle(self, node: ast.AST) -> bool:
        if id(node) not in self._idle:
            self._idle[id(node)] = not any(isinstance(part, _WORK) for part in walk(node))
        return self._idle[id(node)]

    def _runs_function(self, decorator: ast.expr) -> bool:
        """Whether what `decorator` makes of a function runs it. Decorators of libraries do."""
        node = decorator.func if isinstance(decorator, ast.Call) else decorator
        if not isinstance(node, ast.Name) or node.id in self.symbols.imports:
            return self.symbols.dotted(node).rpartition(".")[2] not in vocabulary.SKIPPING_DECORATORS
        if node.id in self.symbols.classes or node.id in self.symbols.bindings:
            return False
        if node.id not in self.symbols.functions:
            return True  # a built-in one
        if node.id not in self._passes_on:
            self._passes_on[node.id] = _calls_a_parameter(self.symbols.functions[node.id])
        return self._passes_on[node.id]


def own_nodes(suite: list[ast.stmt]) -> Iterator[ast.AST]:
    """The nodes of `suite` without the bodies of functions and classes in it."""
    stack: list[ast.AST] = list(suite)
    while stack:
        spend()
        node = stack.pop()
        yield node
        if not isinstance(node, _SCOPES):
            stack += ast.iter_child_nodes(node)


def leaves(suite: list[ast.stmt]) -> bool:
    """Whether `suite` may end by `return`, `break` or `continue`. In a `finally`, this ends an exception."""
    return any(isinstance(node, (ast.Return, ast.Break, ast.Continue)) for node in own_nodes(suite))


def _may_return_true(method: FunctionNode) -> bool:
    values = [node.value for node in own_nodes(method.body) if isinstance(node, ast.Return) and node.value is not None]
    return any(not isinstance(value, ast.Constant) or value.value for value in values)


def _calls_a_parameter(decorator: FunctionNode) -> bool:
    """Whether a decorator, or the function that it makes, calls a function that it was given."""
    given = {
        part.arg
        for node in walk(decorator)
        if isinstance(node, ast.arguments)
        for part in (*node.posonlyargs, *node.args)
    }
    return any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in given
        for node in walk(decorator)
    )
