"""Own code: what a call of a function, class or context manager of the program certainly does.

A program may give a function a name that means a milestone, bind the name again, or wrap the function so that it never runs.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from trl_mle.instrumentation.analysis import vocabulary
from trl_mle.instrumentation.analysis.budget import spend, walk
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


class OwnCode:
    """Resolves the calls of one program."""

    def __init__(self, symbols: Symbols):
        self.symbols = symbols
        self._runs_on_call: dict[int, bool] = {}
        self._idle: dict[int, bool] = {}
        self._passes_on: dict[str, bool] = {}

    def is_certain(self, call: ast.Call, function: FunctionNode) -> bool:
        """Whether `call` certainly runs the body of `function`, which has the name that is called."""
        if not self._runs_when_called(function):
            return False
        if isinstance(call.func, ast.Name):
            name = call.func.id
            return name not in self.symbols.bound and name not in self.symbols.redefined
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

    def class_of(self, receiver: ast.expr) -> ast.ClassDef | None:
        """The class of the program that `receiver` is an instance of, if the text shows it."""
        values = [receiver]
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
            bodies: list[ast.AST] = [*self.symbols.bindings.get(call.func.id, [])]
            if call.func.id in self.symbols.functions:
                bodies.append(self.symbols.functions[call.func.id])
            return bool(bodies) and all(
                isinstance(body, (*_SCOPES, ast.Constant)) and self._is_idle(body) for body in bodies
            )
        if not isinstance(call.func, ast.Attribute):
            return False
        owner = self.class_of(call.func.value)
        if owner is None:
            return False
        spend(len(owner.body))
        methods = [
            part for part in owner.body if isinstance(part, _SCOPES) and getattr(part, "name", "") == call.func.attr
        ]
        if not methods:
            return not owner.bases  # nothing, or a name that the class binds
        return all(map(self._is_idle, methods))

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
