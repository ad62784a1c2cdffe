"""Own code: what a call of a function, class or context manager of the program certainly does.

A program may give a function a name that means a milestone, bind the name again, or wrap the function so that it never runs.
"""

from __future__ import annotations

import ast

from trl_mle.instrumentation.analysis import vocabulary
from trl_mle.instrumentation.analysis.budget import spend, walk
from trl_mle.instrumentation.analysis.decorators import passes_on
from trl_mle.instrumentation.analysis.dynamic_names import binds_any_name, reaches_its_globals
from trl_mle.instrumentation.analysis.scopes import defined, own_nodes
from trl_mle.instrumentation.analysis.symbols import FunctionNode, Symbols

_WORK = (
    ast.Call, ast.BinOp, ast.Compare, ast.AugAssign, ast.For, ast.AsyncFor, ast.While, ast.Subscript,
    ast.ListComp, ast.SetComp, ast.DictComp, ast.Await, ast.YieldFrom, ast.With, ast.AsyncWith, ast.Import, ast.ImportFrom,
    ast.Starred, ast.Delete,
)  # fmt: skip
"""A body without any of these computes nothing, unless a property does."""
_BUILTIN_CLASSES = frozenset({"object", "list", "dict", "set", "tuple", "str", "int", "float", "Exception"})
_KEEPING = frozenset({"staticmethod", "classmethod"})
_WRAPPING = _KEEPING | {"functools.partial"}
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
        self.binds_any_name = binds_any_name(symbols)
        self.reaches_its_globals = reaches_its_globals(symbols)
        self._runs_on_call: dict[int, bool] = {}
        self._idle: dict[int, bool] = {}
        self._known_decorators: dict[tuple[int, bool], bool] = {}

    def is_certain(self, call: ast.Call, function: FunctionNode) -> bool:
        """Whether `call` certainly runs the body of `function`, which has the name that is called."""
        if not self._runs_when_called(function):
            return False
        if isinstance(call.func, ast.Name):
            name = call.func.id
            # `setattr` of objects replaces no function of which the program holds no object.
            is_kept = not self.binds_any_name or not (self.reaches_its_globals or name in self.symbols.references)
            return is_kept and name not in self.symbols.classes and not self._is_shadowed(call, name)
        if (
            self.binds_any_name
            or not isinstance(call.func, ast.Attribute)
            or f".{function.name}" in self.symbols.bindings
        ):
            return False
        receiver = call.func.value
        if (owner := self.class_of(receiver, proven=False)) is not None:
            return self._has_method(owner, function, _DEPTH)
        # `time.sleep(1)` and `[].append(1)` call no method of the program, whatever its classes define.
        is_foreign = isinstance(receiver, _LITERALS) or (
            isinstance(receiver, ast.Name) and receiver.id in self.symbols.imports
        )
        return not is_foreign and function.name not in _OF_BUILTIN_TYPES

    def makes_instance(self, owner: ast.ClassDef) -> bool:
        """Whether a call of the name of `owner` certainly runs its `__init__`."""
        spend(len(owner.body))
        return (
            not (self.binds_any_name or owner.name in self.symbols.functions)
            and self._is_made_as_usual(owner, _DEPTH)
            and all(map(self._runs_function, owner.decorator_list))
            and self._is_defined_once(owner.name)
        )

    def _is_made_as_usual(self, owner: ast.ClassDef, depth: int) -> bool:
        """Whether neither `owner` nor a base of it decides by itself what a call of the class makes."""
        if owner.keywords or defined(owner, "__new__"):
            return False
        bases = [
            self.symbols.classes[name]
            for base in owner.bases
            if (name := self.symbols.dotted(base)) in self.symbols.classes
        ]
        return depth == 0 or all(self._is_made_as_usual(base, depth - 1) for base in bases if base is not owner)

    def _is_defined_once(self, name: str) -> bool:
        return name not in self.symbols.bound and name not in self.symbols.redefined

    def _is_shadowed(self, call: ast.Call, name: str) -> bool:
        """Whether the name of a function may mean something else where `call` stands."""
        scopes = self.symbols.scopes_that_bind.get(name, set())
        if name in self.symbols.redefined or 0 in scopes or id(call) not in self.symbols.function_of:
            return not self._is_defined_once(name)
        function = self.symbols.function_of[id(call)]
        while function is not None and scopes:
            spend()
            if id(function) in scopes:
                return True
            function = self.symbols.function_of[id(function)]
        return False

    def class_of(self, receiver: ast.expr, proven: bool = True) -> ast.ClassDef | None:
        """The class of the program that `receiver` is, or is an instance of, if the text shows it, or proves it."""
        values = [receiver]
        if isinstance(receiver, ast.Name):
            if receiver.id in self.symbols.classes:
                return self.symbols.classes[receiver.id] if self._is_defined_once(receiver.id) else None
            values = self.symbols.values_of(receiver.id) if proven else self.symbols.bindings.get(receiver.id, [])
        names = {
            value.func.id if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) else None
            for value in values
        }
        name = names.pop() if len(names) == 1 else None
        is_class = name is not None and name not in self.symbols.functions and self._is_defined_once(name)
        return self.symbols.classes.get(name) if name is not None and is_class else None

    def _has_method(self, owner: ast.ClassDef, function: FunctionNode, depth: int) -> bool:
        """Whether `function` is a method of `owner`, its own or inherited from a class of the program."""
        spend(1 + len(owner.body))
        if owner.keywords or defined(owner, "__getattribute__"):
            return False
        if found := defined(owner, function.name):
            return found == [function]
        bases = [self.symbols.classes.get(self.symbols.dotted(base)) for base in owner.bases]
        return depth > 0 and any(base is not None and self._has_method(base, function, depth - 1) for base in bases)

    def does_nothing(self, call: ast.Call) -> bool:
        """Whether the text proves that `call` is of a function of the program that computes nothing, whatever its name says."""
        if self.binds_any_name:
            return False
        if isinstance(call.func, ast.Name):
            return self._is_idle_name(call.func.id, _DEPTH)
        if not isinstance(call.func, ast.Attribute):
            return False
        if f".{call.func.attr}" in self.symbols.bindings:
            return self._is_replaced_by_nothing(call, call.func)
        owner = self.class_of(call.func.value)
        return owner is not None and self._is_idle_method(owner, call.func.attr)

    def _is_replaced_by_nothing(self, call: ast.Call, func: ast.Attribute) -> bool:
        """Whether a method of this receiver was given away before `call`, as in `pandas.read_csv = lambda path: None`."""
        name = func.value.id if isinstance(func.value, ast.Name) else ""
        if f"{name}.{func.attr}" not in self.symbols.replaced:
            # `Ridge.fit = lambda *_: None` is of all models that are made from then on.
            made = self.symbols.values_of(name) if name else [func.value]
            made_by = made[0].func if len(made) == 1 and isinstance(made[0], ast.Call) else None
            name = made_by.id if isinstance(made_by, ast.Name) else ""
        values = self.symbols.replaced.get(f"{name}.{func.attr}", [])
        spend(len(values))
        is_one_object = (name in self.symbols.imports and name not in self.symbols.bindings) or (
            len(self.symbols.values_of(name)) == 1
        )
        return (
            is_one_object
            and len(values) == len(self.symbols.bindings[f".{func.attr}"])
            and any(line < call.lineno for line, _ in values)
            and all(
                isinstance(value, (ast.Lambda, ast.Name)) and self._is_idle_value(value, _DEPTH) for _, value in values
            )
        )

    def _is_idle_name(self, name: str, depth: int) -> bool:
        symbols = self.symbols
        if name in symbols.redefined or name in symbols.classes or not symbols.unknown.isdisjoint({name, "*"}):
            return False
        values = symbols.bindings.get(name, [])
        spend(len(values))
        if name in symbols.functions:
            if not self._is_idle_function(symbols.functions[name]):
                return False
        elif not values:
            return False
        return symbols.is_complete(values) and all(self._is_idle_value(value, depth) for value in values)

    def _is_idle_value(self, value: ast.expr, depth: int) -> bool:
        spend()
        if isinstance(value, ast.Name):
            return depth > 0 and self._is_idle_name(value.id, depth - 1)
        if isinstance(value, ast.Call) and len(value.args) > 0 and self.symbols.dotted(value.func) in _WRAPPING:
            return depth > 0 and self._is_idle_value(value.args[0], depth - 1)
        return isinstance(value, (ast.Lambda, ast.Constant)) and self._is_idle(value)

    def _is_idle_function(self, function: FunctionNode) -> bool:
        kept = all(isinstance(part, ast.Name) and part.id in _KEEPING for part in function.decorator_list)
        return kept and self._is_idle(function)

    def _is_idle_method(self, owner: ast.ClassDef, name: str) -> bool:
        """Whether the method `name` of `owner`, its own or inherited, computes nothing. A class of a library does."""
        # The first class that defines a method hides all others, also those of a library.
        first = self._first_that_defines(owner, name)
        family = self._family(owner) if first is None else [first]
        if family is None:
            return False
        methods = [found for part in family if (found := defined(part, name))]
        if not methods:  # Without `__getattr__` the call is an error.
            return any(_gives_lambdas(part) for part in family)
        return all(
            self._is_idle_function(node)
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
            else isinstance(node, ast.Name) and self._is_idle_name(name, _DEPTH)
            for node in methods[0]
        )

    def _family(self, owner: ast.ClassDef) -> list[ast.ClassDef] | None:
        """`owner` and its bases, if all are plain classes of the program."""
        family: list[ast.ClassDef] = []
        waiting: list[ast.expr | ast.ClassDef] = [owner]
        while waiting:
            spend()
            part = waiting.pop(0)
            if isinstance(part, ast.Name):
                if (
                    part.id in _BUILTIN_CLASSES
                    and self._is_defined_once(part.id)
                    and part.id not in self.symbols.classes
                ):
                    continue
                if part.id in self.symbols.classes and self._is_defined_once(part.id):
                    part = self.symbols.classes[part.id]
            if not isinstance(part, ast.ClassDef) or len(family) > _DEPTH or not self._is_plain(part):
                return None
            family.append(part)
            waiting += part.bases
        return family

    def _first_that_defines(self, owner: ast.ClassDef, name: str) -> ast.ClassDef | None:
        """The class of the program in which a look-up of `name` ends, if first bases alone show it."""
        is_last = False
        for _ in range(_DEPTH):
            spend(1 + len(owner.body))
            if not self._is_plain(owner):
                return None
            if defined(owner, name):
                return owner
            base = owner.bases[0] if owner.bases else None
            if is_last or not isinstance(base, ast.Name) or not self._is_defined_once(base.id):
                return None
            if base.id not in self.symbols.classes:
                return None
            # Of several bases the first is looked at next. What follows may be a base of it or the second one.
            is_last = len(owner.bases) > 1
            owner = self.symbols.classes[base.id]
        return None

    def _is_plain(self, owner: ast.ClassDef) -> bool:
        """Whether the text of `owner` leaves its instances and methods as they are written."""
        changing = ("__new__", "__getattribute__", "__init_subclass__")
        return not (owner.keywords or owner.decorator_list or any(defined(owner, name) for name in changing))

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
            self._idle[id(node)] = not any(map(_is_work, walk(node)))
        return self._idle[id(node)]

    def _runs_function(self, decorator: ast.expr) -> bool:
        """Whether what `decorator` makes of a function runs it. Decorators of libraries do."""
        takes_settings = isinstance(decorator, ast.Call)
        node = decorator.func if isinstance(decorator, ast.Call) else decorator
        if isinstance(node, ast.Attribute):
            methods = [] if self._is_imported(node.value) else self.symbols.methods.get(node.attr, [])
            if methods:
                return all(self._passes_on(method, takes_settings, is_method=True) for _, method in methods)
        elif not isinstance(node, ast.Name):
            return False
        if isinstance(node, ast.Attribute) or node.id in self.symbols.imports:
            return self.symbols.dotted(node).rpartition(".")[2] not in vocabulary.SKIPPING_DECORATORS
        if node.id in self.symbols.bindings:
            return False
        if node.id in self.symbols.classes:
            called = defined(self.symbols.classes[node.id], "__call__")
            return self._is_defined_once(node.id) and len(called) == 1 and _calls_its_attribute(called[0])
        if node.id not in self.symbols.functions:
            return True  # a built-in one
        return self._passes_on(self.symbols.functions[node.id], takes_settings)

    def _passes_on(self, decorator: FunctionNode, takes_settings: bool, is_method: bool = False) -> bool:
        key = id(decorator), takes_settings
        if key not in self._known_decorators:
            is_method = is_method and not any(
                self.symbols.dotted(part) == "staticmethod" for part in decorator.decorator_list
            )
            self._known_decorators[key] = passes_on(decorator, takes_settings, is_method)
        return self._known_decorators[key]

    def _is_imported(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Name) and node.id in self.symbols.imports

    def is_own_name(self, func: ast.expr) -> bool:
        """Whether the function `func` may be one of the program, whatever library has one of the name."""
        if isinstance(func, ast.Name):
            return any(
                func.id in names for names in (self.symbols.functions, self.symbols.bindings, self.symbols.classes)
            )
        if isinstance(func, ast.Attribute) and not self._is_imported(func.value):
            return func.attr in self.symbols.methods or f".{func.attr}" in self.symbols.bindings
        return False


def _is_work(node: ast.AST) -> bool:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
        return False
    return isinstance(node, _WORK) or (isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load))


def _gives_lambdas(owner: ast.ClassDef) -> bool:
    """Whether `__getattr__` of `owner` does nothing but return a lambda that does nothing."""
    match defined(owner, "__getattr__"):
        case [ast.FunctionDef(body=[ast.Return(value=ast.Lambda() as made)])]:
            return not any(isinstance(part, _WORK) for part in walk(made))
    return False


def _calls_its_attribute(method: ast.AST) -> bool:
    """Whether a method calls what it holds, as the `__call__` of a decorator: `self.function()`."""
    return any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "self"
        for node in walk(method)
    )
