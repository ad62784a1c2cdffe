"""Run counts: upper bounds on how often a loop or function runs, so that marks cannot flood the output."""

from __future__ import annotations

import ast
import math

from trl_mle.instrumentation.analysis import vocabulary
from trl_mle.instrumentation.analysis.budget import spend
from trl_mle.instrumentation.analysis.constants import Constants
from trl_mle.instrumentation.analysis.decorators import calls_once
from trl_mle.instrumentation.analysis.symbols import FunctionNode, Symbols
from trl_mle.instrumentation.analysis.values import Values

MOST_RUNS = 100
"""A mark goes only where it is printed at most this often (60 to 100 bytes each)."""
_DEFAULT_FOLDS = 10


class RunCounts:
    """Upper bounds for one program. `math.inf` if none is known."""

    def __init__(self, symbols: Symbols, values: Values):
        self.symbols = symbols
        self.values = values
        self.constants = Constants(symbols, certain=False)
        self._runs: dict[int, float] = {}
        self._names = {id(node): name for name, node in symbols.functions.items()}
        self._owners = {id(node): (owner, name) for name, nodes in symbols.methods.items() for owner, node in nodes}

    def of_function(self, function: FunctionNode | None) -> float:
        """How often the body of `function` runs. `None` stands for the module, which runs once."""
        if function is None:
            return 1
        if id(function) not in self._runs:
            self._runs[id(function)] = math.inf  # recursion has no bound
            self._runs[id(function)] = self._of_function(function)
        return self._runs[id(function)]

    def _of_function(self, function: FunctionNode) -> float:
        if any(map(self._compiles, function.decorator_list)):
            return math.inf
        name = self._names.get(id(function))
        if name is None:
            if id(function) not in self._owners:
                return math.inf  # shadowed by a later definition of the same name
            owner, method = self._owners[id(function)]
            if any(self.symbols.dotted(base) != "object" for base in owner.bases):
                return math.inf  # its framework may call it
            if any(map(self._compiles, owner.decorator_list)):
                return math.inf
            name = f".{method}"
            if method == "__init__":
                name = owner.name
            elif method.startswith("__"):
                return math.inf
        if name in self.symbols.references:
            return math.inf
        total = 0.0
        for site in self.symbols.calls.get(name, []):
            spend(1 + len(site.loops))
            total += math.prod(map(float, map(self.of_loop, site.loops))) * self.of_function(site.function)
            if total > MOST_RUNS:
                return math.inf
        return total

    def _compiles(self, decorator: ast.expr) -> bool:
        """Whether `decorator` may make something of the code that survives no print."""
        node = decorator.func if isinstance(decorator, ast.Call) else decorator
        name = node.id if isinstance(node, ast.Name) else ""
        if name in self.symbols.functions and name not in self.symbols.bound and name not in self.symbols.redefined:
            return not calls_once(self.symbols.functions[name])
        return self.symbols.dotted(node).rpartition(".")[2] not in vocabulary.SAFE_DECORATORS

    def of_loop(self, loop: ast.AST) -> float:
        """How often the body of a loop or comprehension runs for one run of the loop."""
        if isinstance(loop, ast.For):
            return self._of_iterable(loop.iter, 5)
        if isinstance(loop, (ast.ListComp, ast.SetComp, ast.DictComp)):
            return math.prod(float(self._of_iterable(part.iter, 5)) for part in loop.generators)
        return math.inf

    def _of_iterable(self, node: ast.expr, depth: int) -> float:
        spend()
        if depth == 0:
            return math.inf
        if self.constants.is_empty(node):
            return 1
        match node:
            case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts) | ast.Dict(keys=parts):
                return math.inf if any(part is None or isinstance(part, ast.Starred) for part in parts) else len(parts)
            case ast.Name(id=name):
                values = self.symbols.bindings.get(name, [])
                if len(values) != 1 or self.constants.is_empty(values[0]) or self.constants.grows(name):
                    return math.inf
                return self._of_iterable(values[0], depth - 1)
            case ast.Call(func=ast.Name(id="range"), args=[*numbers]):
                bounds = [self.constants.number(number) for number in numbers]
                if None in bounds:
                    return math.inf
                try:
                    return len(range(*bounds))  # type: ignore[arg-type]
                except (TypeError, ValueError, OverflowError):
                    return math.inf
            case ast.Call(func=ast.Attribute(attr="items" | "values" | "keys", value=value)):
                return self._of_iterable(value, depth - 1)
            case ast.Call(func=ast.Attribute(attr="split", value=value)) if "splitter" in self.values.of(value):
                return self._of_folds(value)
            case ast.Call(args=[first, *_]):
                name = self.symbols.dotted(node.func).rpartition(".")[2]
                if name in vocabulary.PASS_THROUGH_ITERATORS - {"trange"} | {"zip"}:
                    return self._of_iterable(first, depth - 1)
        return math.inf

    def _of_folds(self, splitter: ast.expr) -> float:
        values = [splitter]
        if isinstance(splitter, ast.Name):
            values = self.symbols.bindings.get(splitter.id, [])
        if len(values) != 1 or not isinstance(values[0], ast.Call):
            return math.inf
        call = values[0]
        if self.symbols.dotted(call.func).rpartition(".")[2].startswith(("LeaveOne", "Predefined", "Repeated")):
            return math.inf
        counts = [*call.args[:1], *(keyword.value for keyword in call.keywords if keyword.arg == "n_splits")]
        folds = self.constants.number(counts[0]) if counts else _DEFAULT_FOLDS
        return math.inf if folds is None else folds
