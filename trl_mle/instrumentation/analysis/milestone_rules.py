"""Which milestones an expression or a simple statement has certainly achieved once it has run.

Answers are sets of strings: a milestone; `~import` and `~backward`, steps on the way to one; and `!milestone` for one
whose mark a called function has certainly printed. What may not have run (a branch of `a if c else b`, the right side
of `and`, a lambda's body) is left out.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from itertools import islice

from trl_mle.instrumentation.analysis import vocabulary as words
from trl_mle.instrumentation.analysis.symbols import Facts, FunctionNode
from trl_mle.instrumentation.analysis.values import Kinds

Achieved = frozenset[str]
NOTHING: Achieved = frozenset()
IMPORTED, LOADED, FEATURES, DEFINED, TRAINED, EVALUATED, WROTE = (
    "imported_libraries",
    "loaded_data",
    "built_features",
    "defined_model",
    "trained_model",
    "evaluated_model",
    "wrote_predictions",
)
FITTED = frozenset({TRAINED, DEFINED})
_PARTS = 200
"""Parts of an expression that are looked at."""


class Events:
    """Judges the expressions of one program.

    Args:
        summary (`Callable[[FunctionNode], Achieved]`):
            What a call of a function of this program has achieved when it returns.
    """

    def __init__(self, facts: Facts, kinds: Kinds, summary: Callable[[FunctionNode], Achieved]):
        self.facts = facts
        self.kinds = kinds
        self._summary = summary
        self._loads_train: bool | None = None

    def of(self, node: ast.AST | None) -> Achieved:
        """What has been achieved once `node` is evaluated."""
        match node:
            case None | ast.Lambda() | ast.GeneratorExp() | ast.Constant() | ast.Name():
                return NOTHING
            case ast.IfExp():
                return self.of(node.test) | (self.of(node.body) & self.of(node.orelse))
            case ast.BoolOp():
                return self.of(node.values[0])
            case ast.Compare():
                return self.of(node.left) | self.of(node.comparators[0])
            case ast.ListComp() | ast.SetComp() | ast.DictComp():
                return self._of_comprehension(node)
            case ast.Await(value=ast.Call() as call):
                return self._of_children(call) | self._of_call(call, runs_coroutine=True)
            case ast.Call():
                return self._of_children(node) | self._of_call(node)
            case ast.Attribute():
                return self.of(node.value) | self._of_attribute(node)
        return self._of_children(node)

    def _of_children(self, node: ast.AST | None) -> Achieved:
        found = NOTHING
        for child in ast.iter_child_nodes(node) if node is not None else ():
            if isinstance(child, ast.GeneratorExp) and isinstance(node, ast.Call):
                found |= self._of_comprehension(child)  # sum(... for ...): the call runs it
            else:
                found |= self.of(child)
        return found

    def of_generator(self, node: ast.expr) -> Achieved:
        """What running the generator expression `node` to its end achieves; nothing for another expression."""
        return self._of_comprehension(node) if isinstance(node, ast.GeneratorExp) else NOTHING

    def _of_comprehension(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> Achieved:
        first = node.generators[0]
        found = self.of(first.iter)
        if not any(part.ifs or is_empty(part.iter) for part in node.generators):
            for part in node.generators[1:]:
                found |= self.of(part.iter)
            parts = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
            for value in parts:
                found |= self.of(value)
            if self.is_reading(first.iter):
                found |= {LOADED}
        return found

    # Calls

    def _of_call(self, call: ast.Call, runs_coroutine: bool = False) -> Achieved:
        dotted = self.facts.dotted(call.func)
        name = dotted.rpartition(".")[2]
        receiver = call.func.value if isinstance(call.func, ast.Attribute) else None
        found = self._of_local_call(call, name, receiver, runs_coroutine)
        if receiver is not None:
            found |= self._of_method(call, name, receiver)
        if name in words.READERS and self._counts_as_load(call):
            found |= {LOADED}
        if name in ("list", "dict", "array", "asarray", "next", "sorted", "tuple") and call.args:
            found |= {LOADED} if self.is_reading(call.args[0]) else NOTHING
        if name in words.FEATURE_CALLS:
            found |= {FEATURES}
        if name == "tokenizer" or (receiver is None and call.args and self._is_tokenizer(call.func)):
            found |= {FEATURES}
        if "model" in self.kinds._of_call(call, 4) and self._constructs(call, name, receiver):
            found |= {DEFINED}
        if name in words.TRAINING_CALLS:
            found |= FITTED if self._takes_model(call, receiver) else NOTHING
        if name in ("train", "cv") and dotted.split(".")[0] in words.BOOSTER_LIBRARIES:
            found |= FITTED
            if name == "cv" or self._validates(call):
                found |= {EVALUATED}
        if name in words.LEAST_SQUARES:
            found |= FITTED
        if name in words.CROSS_VALIDATED_SCORES:
            found |= {EVALUATED}
        if self._is_metric(dotted, name) and self.kinds.is_held_out(list(call.args)):
            found |= {EVALUATED}
        if name in words.AVERAGES and self._is_own_metric(call, receiver):
            found |= {EVALUATED}
        if self._writes_submission(call, name, dotted):
            found |= {WROTE}
        return found

    def _of_local_call(self, call: ast.Call, name: str, receiver: ast.expr | None, runs_coroutine: bool) -> Achieved:
        found = NOTHING
        function = self.facts.local_function(call)
        if function is not None and (runs_coroutine or not isinstance(function, ast.AsyncFunctionDef)):
            found |= self._summary(function)
        if name in ("run", "run_until_complete") and call.args and isinstance(call.args[0], ast.Call):
            coroutine = self.facts.local_function(call.args[0])
            if isinstance(coroutine, ast.AsyncFunctionDef):
                found |= self._summary(coroutine)
        if receiver is None and name in self.facts.classes:
            for owner, method in self.facts.methods.get("__init__", []):
                if owner is self.facts.classes[name]:
                    found |= self._summary(method)
        if name in words.CALLBACK_RUNNERS and call.args and isinstance(call.args[0], ast.Name):
            callback = self.facts.functions.get(call.args[0].id)
            if callback is not None:
                found |= self._summary(callback)
        return found

    def _of_method(self, call: ast.Call, name: str, receiver: ast.expr) -> Achieved:
        kinds = self.kinds
        if name == "fit":
            return self._of_fit(call, receiver)
        if name == "transform" and "splitter" not in kinds.of(receiver) and call.args:
            return frozenset({FEATURES})
        if name in words.FRAME_METHODS and kinds.is_data(receiver):
            return frozenset({FEATURES})
        if name == "train" and "trainer" in kinds.of(receiver):
            return FITTED
        if name in words.TRAINING_CALLS_OF_DATA:
            return FITTED
        if name == "backward":
            return frozenset({"~backward"})
        if name == "score" and len(call.args) + len(call.keywords) >= 2 and kinds.is_model(receiver):
            arguments = [*call.args, *(keyword.value for keyword in call.keywords)]
            return frozenset({EVALUATED}) if kinds.is_held_out(arguments) else NOTHING
        if name == "evaluate" and (kinds.of(receiver) & {"model", "trainer"}):
            held_out = "trainer" in kinds.of(receiver) or kinds.is_held_out(list(call.args))
            return frozenset({EVALUATED}) if held_out else NOTHING
        return NOTHING

    def _of_fit(self, call: ast.Call, receiver: ast.expr) -> Achieved:
        if self.kinds.is_transformer(receiver):
            return frozenset({FEATURES})
        known = self.kinds.is_model(receiver)
        given = len(call.args) + len(call.keywords)
        if not known and (given < 2 or self.kinds.of(receiver)):
            return NOTHING
        found = FITTED
        if "pipeline" in self.kinds.of(receiver) or (call.args and self._is_made(call.args[0])):
            found |= {FEATURES}
        return found | {EVALUATED} if self._validates(call) else found

    def _is_made(self, node: ast.expr) -> bool:
        """Whether what a model is fitted on was made for it: by an expression, or chosen before under whatever name."""
        if isinstance(node, ast.Name):
            values = self.facts.bindings.get(node.id, [])
            return any(isinstance(part, ast.Subscript) for value in values for part in islice(ast.walk(value), _PARTS))
        return has_content(node) and not isinstance(node, ast.Starred)

    def _validates(self, call: ast.Call) -> bool:
        """Whether training scores held-out data on the way."""
        for keyword in call.keywords:
            if keyword.arg in ("validation_data", "validation_split"):
                return True
            if keyword.arg in ("eval_set", "valid_sets", "evals") and self.kinds.is_held_out([keyword.value]):
                return True
        return False

    def _constructs(self, call: ast.Call, name: str, receiver: ast.expr | None) -> bool:
        if name in words.MODEL_KEEPING | words.FRAME_KEEPING | words.PASS_THROUGH_ITERATORS:
            return False
        return self.facts.local_function(call) is None and name not in ("clone", "deepcopy")

    def _takes_model(self, call: ast.Call, receiver: ast.expr | None) -> bool:
        values = [*call.args, *(keyword.value for keyword in call.keywords)]
        if receiver is not None and self.kinds.is_model(receiver):
            return True
        return any(self.kinds.is_model(value) for value in values) or len(values) >= 3

    def _is_tokenizer(self, func: ast.expr) -> bool:
        return isinstance(func, ast.Name) and func.id not in self.facts.functions and self.kinds.is_transformer(func)

    # Data

    def _counts_as_load(self, call: ast.Call) -> bool:
        """Whether a read is a read of the training data: of a train file, or of an unnamed one where none is named."""
        kind = self.kinds.file_of(call)
        if self._loads_train is None:
            sites = [
                site
                for name in self.facts.calls
                if name.lstrip(".") in {*words.READERS, "open"}
                for site in self.facts.calls[name]
            ]
            self._loads_train = any(self.kinds.file_of(site.call) == "train" for site in sites)
        return kind == "train" or (kind in ("unknown", "other") and not self._loads_train)

    def is_reading(self, node: ast.expr) -> bool:
        """Whether going through `node` reads the training data (`csv.reader(f)`, an open file)."""
        if isinstance(node, ast.Call):
            name = self.facts.dotted(node.func).rpartition(".")[2]
            if name == "open":
                return self.opens(node, "r")
            if name in ("reader", "DictReader", "enumerate", "list", "readlines"):
                inner = [*node.args[:1], *([node.func.value] if isinstance(node.func, ast.Attribute) else [])]
                return any(self.is_reading(part) for part in inner)
        if isinstance(node, ast.Name):
            values = self.facts.bindings.get(node.id, [])
            return any(isinstance(value, ast.Call) and self._opens_or_wraps(value, 3) for value in values)
        return False

    def _opens_or_wraps(self, call: ast.Call, depth: int) -> bool:
        if self.opens(call, "r"):
            return True
        name = self.facts.dotted(call.func).rpartition(".")[2]
        if depth == 0 or name not in ("reader", "DictReader") or not call.args:
            return False
        argument = call.args[0]
        values = self.facts.bindings.get(argument.id, []) if isinstance(argument, ast.Name) else [argument]
        return any(isinstance(value, ast.Call) and self._opens_or_wraps(value, depth - 1) for value in values)

    def opens(self, call: ast.Call, mode: str) -> bool:
        """Whether `call` opens the training data (`r`) or the submission (`w`)."""
        name = self.facts.dotted(call.func).rpartition(".")[2]
        if name != "open":
            return False
        is_path = self.kinds.is_path_method(call)
        rest = call.args if is_path else call.args[1:]
        given = [*rest[:1], *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
        written = next((str(value.value) for value in given if isinstance(value, ast.Constant)), "r")
        writes = any(letter in written for letter in "wxa")
        if mode == "w":
            return writes and self.kinds.file_of(call) == "submission"
        return not writes and self._counts_as_load(call)

    # Scores and predictions

    def _of_attribute(self, node: ast.Attribute) -> Achieved:
        if not isinstance(node.ctx, ast.Load):
            return NOTHING
        is_score = node.attr in words.SCORE_ATTRIBUTES
        is_score |= node.attr == "best_value" and "study" in self.kinds.of(node.value)
        return frozenset({EVALUATED}) if is_score else NOTHING

    def _is_metric(self, dotted: str, name: str) -> bool:
        return name in words.METRICS or dotted.startswith("sklearn.metrics.")

    def _is_own_metric(self, call: ast.Call, receiver: ast.expr | None) -> bool:
        """Whether `np.mean(pred == y_val)`, `((pred - y_val) ** 2).mean()` and such score held-out data."""
        inner = call.args[0] if call.args else receiver
        for node in ast.walk(inner) if inner is not None else ():
            match node:
                case ast.Compare(left=left, ops=[ast.Eq() | ast.NotEq()], comparators=[right]):
                    sides = [left, right]
                case ast.BinOp(left=left, op=ast.Sub(), right=right):
                    sides = [left, right]
                case _:
                    continue
            compares = not any(isinstance(side, ast.Constant) for side in sides)
            if compares and any(self.kinds.is_held_out_target(side) for side in sides):
                return True
        return False

    def _writes_submission(self, call: ast.Call, name: str, dotted: str) -> bool:
        if name in words.WRITERS:
            if name == "write_text" and isinstance(call.func, ast.Attribute):
                return self._is_submission(call.func.value)
            path = [*call.args[:1], *(keyword.value for keyword in call.keywords if "path" in (keyword.arg or ""))]
            return bool(path) and self._is_submission(path[0])
        if name in words.STREAM_WRITERS and isinstance(call.func, ast.Attribute):
            return isinstance(call.func.value, ast.Call) and self.opens(call.func.value, "w")
        if name == "print":
            files = [keyword.value for keyword in call.keywords if keyword.arg == "file"]
            return any(isinstance(file, ast.Call) and self.opens(file, "w") for file in files)
        if name in words.FILE_MOVES and dotted.split(".")[0] in ("shutil", "os") and len(call.args) == 2:
            return self._is_submission(call.args[1])
        if name == "close" and isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name):
            values = self.facts.bindings.get(call.func.value.id, [])
            return any(isinstance(value, ast.Call) and self.opens(value, "w") for value in values)
        return False

    def _is_submission(self, path: ast.expr) -> bool:
        return self.kinds.file(path) == "submission"


def is_empty(node: ast.expr) -> bool:
    """Whether a loop over `node` certainly runs not at all."""
    match node:
        case ast.List(elts=[]) | ast.Tuple(elts=[]) | ast.Dict(keys=[]) | ast.Constant(value=""):
            return True
        case ast.Call(func=ast.Name(id="range"), args=[ast.Constant(value=int(stop))]):
            return stop <= 0
        case ast.Call(func=ast.Name(id="list" | "tuple" | "set" | "dict"), args=[], keywords=[]):
            return True
    return False


def has_content(value: ast.expr) -> bool:
    """Whether a value is more than a constant, a container of constants or a file that was only read."""
    match value:
        case ast.Constant() | ast.JoinedStr() | ast.Lambda():
            return False
        case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts):
            return any(map(has_content, parts))
        case ast.Dict(values=values):
            return any(map(has_content, values))
        case ast.Call(args=[], keywords=[], func=ast.Name(id="list" | "dict" | "set")):
            return False
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in words.READERS:
            return False
    return True
