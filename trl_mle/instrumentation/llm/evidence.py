"""Evidence: whether a statement could reach a milestone that the rules of the analysis cannot tell.

`Placement` knows the usual ways to each milestone. A model may name an unusual one (an own reader, a model written by hand);
it is believed only if the statement holds, in a part that certainly runs, what the milestone needs. This is weaker than
`Placement`: it stops a model from claiming training after a print, but not from calling a poor model a model.

A new milestone works without a rule here. Then a model's claim counts only in programs where the rules of the analysis prove that
the milestone is reached, because a claim that nothing supports must earn no reward.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator

from trl_mle.instrumentation.analysis import vocabulary
from trl_mle.instrumentation.analysis.budget import spend, walk
from trl_mle.instrumentation.analysis.milestone_rules import has_content
from trl_mle.instrumentation.analysis.placement import Placement
from trl_mle.types import Milestone

_LOOPS = (ast.For, ast.AsyncFor, ast.While)
_DATA_FILE = re.compile(r"\.(?:csv|tsv|parquet|jsonl?|np[yz]|pkl|pickle|feather|txt|h5|arff)(?:\.gz)?$", re.IGNORECASE)
_READS = re.compile(r"read|load|parse|import|fetch", re.IGNORECASE)
_WRITES = re.compile(r"write|save|dump|export|^to_", re.IGNORECASE)
_TRAINS = re.compile(r"(?:^|_)(?:fit|train|learn|optimi[sz]e|minimi[sz]e|boost)", re.IGNORECASE)
_SCORES = re.compile(r"score|acc|err|loss|metric|mae|ms[el]|auc|f1|r2|eval|corr", re.IGNORECASE)
_SOLVERS = frozenset({"solve", "inv", "pinv", "lstsq", "svd", "eigh", "qr"})
_PARAMETERS = re.compile(r"(?:[wWbB]|theta|weights?|bias|params?|coefs?|beta)\d?")
_NO_MODEL = frozenset({"pandas", "numpy", "polars", "csv", "datasets"})
_SPLITS = vocabulary.SPLIT_CALLS | vocabulary.FEATURE_CALLS


class Evidence:
    """Judges the statements of one program, with what `placement` has collected."""

    def __init__(self, placement: Placement):
        self.placement = placement
        self.symbols = placement.symbols
        self.values = placement.values
        self._rules: dict[str, Callable[[ast.AST], bool]] = {
            Milestone.IMPORTED_LIBRARIES: self._imported_libraries,
            Milestone.LOADED_DATA: self._loaded_data,
            Milestone.BUILT_FEATURES: self._built_features,
            Milestone.DEFINED_MODEL: self._defined_model,
            Milestone.TRAINED_MODEL: self._trained_model,
            Milestone.EVALUATED_MODEL: self._evaluated_model,
            Milestone.WROTE_PREDICTIONS: self._wrote_predictions,
        }

    def supports(self, milestone: str, statement: ast.stmt) -> bool:
        """Whether `statement` holds what `milestone` cannot do without. A milestone without a rule has no evidence."""
        rule = self._rules.get(milestone)
        return rule is not None and any(rule(node) for node in self._certain_parts(statement, 3))

    def held_out(self, variable: str, value: ast.expr) -> bool | None:
        """Whether `variable`, set to `value`, is of held-out data, by its name or its value; `None`: nothing says so."""
        if vocabulary.HELD_OUT.search(variable) or any(self._evaluated_model(node) for node in walk(value)):
            return True
        return False if vocabulary.TRAINING_PART.search(variable) else None

    def _certain_parts(self, statement: ast.stmt, depth: int) -> Iterator[ast.AST]:
        """What runs whenever `statement` runs: no branches, and only the bodies of functions that it calls."""
        stack: list[ast.AST] = [statement]
        while stack:
            spend()
            node = stack.pop()
            yield node
            if isinstance(node, ast.If):
                stack.append(node.test)
            elif isinstance(node, ast.Match):
                stack.append(node.subject)
            elif isinstance(
                node, (ast.Try, ast.TryStar, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
            ):
                continue
            else:
                stack += ast.iter_child_nodes(node)
            if isinstance(node, ast.Call) and depth:
                function = self.symbols.local_function(node)
                for inner in function.body if isinstance(function, ast.FunctionDef) else ():
                    yield from self._certain_parts(inner, depth - 1)

    # One rule per milestone

    def _imported_libraries(self, node: ast.AST) -> bool:
        if isinstance(node, ast.Import):
            return any(alias.name.split(".")[0] not in sys.stdlib_module_names for alias in node.names)
        return isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] not in sys.stdlib_module_names

    def _loaded_data(self, node: ast.AST) -> bool:
        if not isinstance(node, ast.Call) or _READS.search(self._name(node)) is None:
            return False
        names_data = any(
            isinstance(part, ast.Constant) and isinstance(part.value, str) and _DATA_FILE.search(part.value)
            for argument in _arguments(node)
            for part in walk(argument)
        )
        kind = self.values.paths.file_of(node)
        return kind == "train" or (kind == "other" and names_data)

    def _built_features(self, node: ast.AST) -> bool:
        if not isinstance(node, (ast.Assign, ast.AugAssign)) or not isinstance(
            node.value, (ast.Call, ast.BinOp, ast.Subscript, ast.ListComp, ast.DictComp)
        ):
            return False
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if all(isinstance(part, ast.Name) and vocabulary.TARGET_NAME.fullmatch(part.id) for part in targets):
            return False
        if any("submission" in self.values.of(target) for target in targets):
            return False  # predictions
        if any(_READS.search(name) or name.startswith("predict") for name in self._calls(node.value)):
            return False
        return any(isinstance(part, ast.Name) and self.values.is_data(part) for part in walk(node.value))

    def _defined_model(self, node: ast.AST) -> bool:
        if not isinstance(node, (ast.Assign, ast.AnnAssign)) or node.value is None:
            return False
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        names = [part.id for target in targets for part in walk(target) if isinstance(part, ast.Name)]
        if isinstance(node.value, ast.Call) and self._is_unknown_class(node.value):
            return True
        is_model = any(vocabulary.MODEL_NAME.fullmatch(name) or _PARAMETERS.fullmatch(name) for name in names)
        computed = isinstance(node.value, (ast.Call, ast.BinOp, ast.List, ast.Dict, ast.Tuple, ast.ListComp))
        return is_model and computed and has_content(node.value)

    def _is_unknown_class(self, call: ast.Call) -> bool:
        """Whether `call` makes an object of a class that no rule knows, of a library or with a method that trains."""
        name = self._name(call)
        if not name[:1].isupper() or self.values.of(call):
            return False
        if name in self.symbols.classes:
            return any(
                _TRAINS.search(part.name)
                for part in self.symbols.classes[name].body
                if isinstance(part, ast.FunctionDef)
            )
        dotted = self.symbols.dotted(call.func)
        root = dotted.split(".")[0]
        return "." in dotted and root not in _NO_MODEL and root not in sys.stdlib_module_names

    def _trained_model(self, node: ast.AST) -> bool:
        if isinstance(node, _LOOPS):
            return any(_updates(part) for part in walk(node))
        if not isinstance(node, ast.Call):
            return False
        name = self._name(node)
        if name in _SOLVERS:
            return True
        if _TRAINS.search(name) is None or name in _SPLITS or self.symbols.local_function(node) is not None:
            return False  # a function of the program is judged by its body
        receiver = node.func.value if isinstance(node.func, ast.Attribute) else None
        tags = self.values.of(receiver) if receiver is not None else frozenset()
        return bool(_arguments(node)) and not tags & {"transformer", "splitter", "data", "test"}

    def _evaluated_model(self, node: ast.AST) -> bool:
        match node:
            case ast.Compare(left=left, comparators=[right]) | ast.BinOp(left=left, op=ast.Sub(), right=right):
                return self.values.is_held_out_target(left) or self.values.is_held_out_target(right)
            case ast.Call() if _SCORES.search(self._name(node)):
                return any(self.values.is_held_out_target(argument) for argument in _arguments(node))
        return False

    def _wrote_predictions(self, node: ast.AST) -> bool:
        if not isinstance(node, ast.Call) or _WRITES.search(self._name(node)) is None:
            return False
        return any(self.values.paths.file(argument) == "submission" for argument in _arguments(node))

    def _name(self, call: ast.Call) -> str:
        return self.symbols.dotted(call.func).rpartition(".")[2]

    def _calls(self, node: ast.AST) -> list[str]:
        return [self._name(part) for part in walk(node) if isinstance(part, ast.Call)]


def _arguments(call: ast.Call) -> list[ast.expr]:
    return [*call.args, *(keyword.value for keyword in call.keywords)]


def _updates(node: ast.AST) -> bool:
    """Whether `node` changes a variable from its own value: `w -= step`, `w = w - step`, `table[key] += 1`."""
    if isinstance(node, ast.AugAssign):
        return not isinstance(node.value, ast.Constant)
    if not isinstance(node, ast.Assign):
        return False
    names = {part.id for target in node.targets for part in walk(target) if isinstance(part, ast.Name)}
    return any(isinstance(part, ast.Name) and part.id in names for part in walk(node.value))
