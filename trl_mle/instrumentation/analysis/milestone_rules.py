"""Milestone rules: what an expression has certainly reached once it is evaluated.

What may not run is left out: a branch of `a if c else b`, the right side of `and`, the body of a lambda, the message of an
`assert`, an annotation. The rules of files are in `file_rules`, what a call of the program's own code does in `own_code`. The
rules of statements are in `statement_rules`, the names that they look for in `vocabulary`. A new milestone gets its rule here.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from itertools import islice

from trl_mle.instrumentation.analysis import vocabulary
from trl_mle.instrumentation.analysis.budget import spend, walk
from trl_mle.instrumentation.analysis.constants import Constants
from trl_mle.instrumentation.analysis.file_rules import FileRules
from trl_mle.instrumentation.analysis.own_code import OwnCode
from trl_mle.instrumentation.analysis.own_metrics import OwnMetrics
from trl_mle.instrumentation.analysis.state import NOTHING, State, Step, did, reached
from trl_mle.instrumentation.analysis.symbols import FunctionNode, Symbols
from trl_mle.instrumentation.analysis.values import Values
from trl_mle.types import Milestone

FITTED = reached(Milestone.TRAINED_MODEL, Milestone.DEFINED_MODEL)
"""What training reaches. A trained model was also defined, wherever that happened."""
_PARTS = 200
"""Parts of an expression that are looked at."""


class MilestoneRules:
    """Judges the expressions of one program.

    Args:
        summary (`Callable[[FunctionNode], State]`):
            What a call of a function of this program has reached when it returns.
    """

    def __init__(self, symbols: Symbols, values: Values, summary: Callable[[FunctionNode], State]):
        self.symbols = symbols
        self.values = values
        self._summary = summary
        self.files = FileRules(symbols, values)
        self.constants = Constants(symbols)
        self.own_code = OwnCode(symbols)
        self.own_metrics = OwnMetrics(symbols, values)

    def of(self, node: ast.AST | None) -> State:
        """What has been reached once `node` is evaluated."""
        spend()
        match node:
            # The body of a lambda or generator runs later, or never.
            case None | ast.Lambda() | ast.GeneratorExp() | ast.Constant() | ast.Name():
                return NOTHING
            case ast.IfExp():
                return self.of(node.test) | (self.of(node.body) & self.of(node.orelse))
            case ast.BoolOp():
                return self.of(node.values[0])  # the first operand may decide alone
            case ast.Compare():
                return self.of(node.left) | self.of(node.comparators[0])  # `a < b < c` may stop after `b`
            case ast.Assert():
                return self.of(node.test)  # the message is evaluated on failure only
            case ast.AnnAssign():
                return self.of(node.target) | self.of(node.value)  # an annotation may never be evaluated
            case ast.ListComp() | ast.SetComp() | ast.DictComp():
                return self._of_comprehension(node)
            case ast.Await(value=ast.Call() as call):
                return self._of_children(call) | self._of_call(call, runs_coroutine=True)
            case ast.Call():
                return self._of_children(node) | self._of_call(node)
            case ast.Attribute():
                return self.of(node.value) | self._of_attribute(node)
        return self._of_children(node)

    def _of_children(self, node: ast.AST | None) -> State:
        state = NOTHING
        for child in ast.iter_child_nodes(node) if node is not None else ():
            if isinstance(child, ast.GeneratorExp) and isinstance(node, ast.Call) and self._consumes(node):
                state |= self._of_comprehension(child)  # sum(... for ...): the call runs it
                continue
            state |= self.of(child)
            if isinstance(child, ast.Call) and isinstance(node, ast.Call) and self._consumes(node):
                state |= NOTHING if self._called(node) in vocabulary.FIRST_ONLY else self._of_map(child)
        return state

    def of_generator(self, node: ast.expr) -> State:
        """What running `node` to its end reaches, if it is a generator expression or a `map`. Others reach nothing."""
        if isinstance(node, ast.Call):
            return self._of_map(node)
        return self._of_comprehension(node) if isinstance(node, ast.GeneratorExp) else NOTHING

    def _of_map(self, call: ast.Call) -> State:
        """What the elements of `map(f, values)`, or of the `map` of a pool of threads or processes, have reached."""
        if len(call.args) < 2 or not self._is_map(call.func):
            return NOTHING
        function, *iterables = call.args
        if any(self._is_empty(part) for part in iterables):
            return NOTHING
        state = self._of_callback(function)
        name = self.symbols.dotted(function).rpartition(".")[2]
        # As a call with all of the values: what may read the train file counts as its read.
        read = ast.Call(func=function, args=iterables, keywords=[])
        if name in vocabulary.READERS and not self.own_code.does_nothing(read) and self.files.counts_as_load(read):
            state |= reached(Milestone.LOADED_DATA)
        return state

    def _is_empty(self, node: ast.expr) -> bool:
        values = (
            self.symbols.values_of(node.id) if isinstance(node, ast.Name) and not self.constants.grows(node.id) else []
        )
        return self.constants.is_empty(node) or (bool(values) and all(map(self.constants.is_empty, values)))

    def _is_map(self, func: ast.expr) -> bool:
        if ".map" in self.symbols.bindings or "map" in self.symbols.imports or self.own_code.binds_any_name:
            return False
        if isinstance(func, ast.Name):
            return func.id == "map" and not self.own_code.is_own_name(func)
        if not isinstance(func, ast.Attribute) or func.attr != "map":
            return False
        return self._is_pool(func.value, vocabulary.POOLS)

    def _is_pool(self, node: ast.expr, classes: frozenset[str]) -> bool:
        pools = self.symbols.values_of(node.id) if isinstance(node, ast.Name) else [node]
        return bool(pools) and all(
            isinstance(pool, ast.Call)
            and self._called(pool) in classes
            and self.symbols.dotted(pool.func).split(".")[0] in vocabulary.POOL_LIBRARIES
            and not self.own_code.is_own_name(pool.func)
            for pool in pools
        )

    def _of_comprehension(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> State:
        first = node.generators[0]
        state = self.of(first.iter)
        # A condition may refuse every element. Without one, at least one element is assumed, as in a loop.
        if not any(
            part.ifs or self.constants.is_empty(part.iter) or self.constants.may_be_empty(part.iter)
            for part in node.generators
        ):
            for part in node.generators[1:]:
                state |= self.of(part.iter)
            parts = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
            for value in parts:
                state |= self.of(value)
            if self.files.is_reading(first.iter):
                state |= reached(Milestone.LOADED_DATA)
        return state

    # Calls

    def _of_call(self, call: ast.Call, runs_coroutine: bool = False) -> State:
        dotted = self.symbols.dotted(call.func)
        name = dotted.rpartition(".")[2]
        receiver = call.func.value if isinstance(call.func, ast.Attribute) else None
        state = self._of_local_call(call, name, receiver, runs_coroutine)
        if self.own_code.does_nothing(call):
            return state
        if receiver is not None:
            state |= self._of_method(call, name, receiver)
        if name == "map" and receiver is not None and self._is_pool(receiver, vocabulary.WAITING_POOLS):
            state |= self._of_map(call)
        if name in vocabulary.READERS and self.files.counts_as_load(call):
            state |= reached(Milestone.LOADED_DATA)
        # These consume an iterator, so `rows = list(csv.reader(f))` reads the file.
        if name in ("list", "dict", "array", "asarray", "next", "sorted", "tuple") and call.args:
            state |= reached(Milestone.LOADED_DATA) if self.files.is_reading(call.args[0]) else NOTHING
        # A `Pool` of catboost holds data, one of multiprocessing holds processes.
        if name in vocabulary.FEATURE_CALLS and (name != "Pool" or dotted.startswith("catboost.")):
            state |= reached(Milestone.BUILT_FEATURES)
        if name == "tokenizer" or (receiver is None and call.args and self._is_tokenizer(call.func)):
            state |= reached(Milestone.BUILT_FEATURES)
        if "model" in self.values.of_call(call, 4) and self._constructs(call, name):
            state |= reached(Milestone.DEFINED_MODEL)
        if name in vocabulary.TRAINING_CALLS:
            state |= FITTED if self._takes_model(call, receiver) else NOTHING
        # Only of a booster library: `model.train()` of torch merely switches a mode.
        if name in ("train", "cv") and dotted.split(".")[0] in vocabulary.BOOSTER_LIBRARIES:
            state |= FITTED
            if name == "cv" or self._validates(call):
                state |= reached(Milestone.EVALUATED_MODEL)
        if name in vocabulary.LEAST_SQUARES:
            state |= FITTED
        if name in vocabulary.CROSS_VALIDATED_SCORES:
            state |= reached(Milestone.EVALUATED_MODEL)
        # A score on the training data is no evaluation, so the arguments must be held out.
        if self._is_metric(dotted, name) and self.values.is_held_out(list(call.args)):
            state |= reached(Milestone.EVALUATED_MODEL)
        if name in vocabulary.AVERAGES and self.own_metrics.averages(call.args[0] if call.args else receiver):
            state |= reached(Milestone.EVALUATED_MODEL)
        if self.files.writes_submission(call, name, dotted):
            state |= reached(Milestone.WROTE_PREDICTIONS)
        return state

    def _of_local_call(self, call: ast.Call, name: str, receiver: ast.expr | None, runs_coroutine: bool) -> State:
        state = NOTHING
        function = self.symbols.local_function(call)
        # Calling an `async def` only makes a coroutine. Its body runs when that is awaited.
        if function is not None and (runs_coroutine or not isinstance(function, ast.AsyncFunctionDef)):
            summary = self._summary(function)  # places the marks in it, whatever this call does
            state |= summary if self.own_code.is_certain(call, function) else NOTHING
        is_own = self.own_code.is_own_name(call.func)
        if name in ("run", "run_until_complete") and call.args and isinstance(call.args[0], ast.Call):
            coroutine = self.symbols.local_function(call.args[0])
            if isinstance(coroutine, ast.AsyncFunctionDef):
                summary = self._summary(coroutine)  # asyncio.run(main())
                state |= summary if not is_own and self.own_code.is_certain(call.args[0], coroutine) else NOTHING
        if receiver is None and name in self.symbols.classes:
            spend(len(self.symbols.methods.get("__init__", [])))
            for owner, method in self.symbols.methods.get("__init__", []):
                if owner is self.symbols.classes[name]:
                    summary = self._summary(method)
                    state |= summary if self.own_code.makes_instance(owner) else NOTHING
        if name in vocabulary.CALLBACK_RUNNERS and call.args:
            summary = self._of_callback(call.args[0])  # study.optimize(objective)
            state |= NOTHING if is_own else summary
        # Parallel()(delayed(f)(x) for x in xs)
        is_own = isinstance(call.func, ast.Call) and self.own_code.is_own_name(call.func.func)
        if isinstance(call.func, ast.Call) and self._called(call.func) == "Parallel" and call.args and not is_own:
            jobs = call.args[0]
            task = jobs.elt if isinstance(jobs, (ast.GeneratorExp, ast.ListComp)) else None
            if isinstance(task, ast.Call) and isinstance(task.func, ast.Call) and self._called(task.func) == "delayed":
                state |= self._of_callback(task.func.args[0]) if task.func.args else NOTHING
        return state

    def _of_callback(self, callback: ast.expr) -> State:
        function = self.symbols.functions.get(callback.id) if isinstance(callback, ast.Name) else None
        if function is None or isinstance(function, ast.AsyncFunctionDef):  # a call of the latter makes a coroutine
            return NOTHING
        summary = self._summary(function)
        return (
            summary if self.own_code.is_certain(ast.Call(func=callback, args=[], keywords=[]), function) else NOTHING
        )

    def _called(self, call: ast.Call) -> str:
        return self.symbols.dotted(call.func).rpartition(".")[2]

    def _consumes(self, call: ast.Call) -> bool:
        """Whether `call` runs a generator that it is given."""
        func = call.func.func if isinstance(call.func, ast.Call) else call.func  # Parallel()(...)
        name = self.symbols.dotted(func).rpartition(".")[2]
        return name in vocabulary.GENERATOR_CONSUMERS and not self.own_code.is_own_name(func)

    def _of_method(self, call: ast.Call, name: str, receiver: ast.expr) -> State:
        values = self.values
        if name == "fit":
            return self._of_fit(call, receiver)
        if name == "transform" and "splitter" not in values.of(receiver) and call.args:
            return reached(Milestone.BUILT_FEATURES)
        # `drop` on a frame of predictions builds no features.
        if name in vocabulary.FRAME_METHODS and values.is_data(receiver):
            return reached(Milestone.BUILT_FEATURES)
        if name == "train" and "trainer" in values.of(receiver):
            return FITTED
        if name in vocabulary.TRAINING_CALLS_OF_DATA:
            return FITTED
        if name == "backward":
            return did(Step.BACKWARD)  # gradients alone train nothing: the optimizer must step too
        # `player.score()` is no evaluation: that needs inputs and answers, and a model.
        if name == "score" and len(call.args) + len(call.keywords) >= 2 and values.is_model(receiver):
            arguments = [*call.args, *(keyword.value for keyword in call.keywords)]
            return reached(Milestone.EVALUATED_MODEL) if values.is_held_out(arguments) else NOTHING
        if name == "evaluate" and (values.of(receiver) & {"model", "trainer"}):
            # A `Trainer` was given its evaluation set before.
            held_out = "trainer" in values.of(receiver) or values.is_held_out(list(call.args))
            return reached(Milestone.EVALUATED_MODEL) if held_out else NOTHING
        return NOTHING

    def _of_fit(self, call: ast.Call, receiver: ast.expr) -> State:
        if self.values.is_transformer(receiver):
            return reached(Milestone.BUILT_FEATURES)
        arguments = len(call.args) + len(call.keywords)
        # An unknown receiver counts as a model if it takes inputs and answers: `fit(X, y)`, but not `thing.fit(width)`.
        if not self.values.is_model(receiver) and (arguments < 2 or self.values.of(receiver)):
            return NOTHING
        state = FITTED
        # A pipeline transforms inside `fit`. So does an expression in the call: `fit(train[columns] / 255, y)`.
        if "pipeline" in self.values.of(receiver) or (call.args and self._is_made(call.args[0])):
            state |= reached(Milestone.BUILT_FEATURES)
        return state | reached(Milestone.EVALUATED_MODEL) if self._validates(call) else state

    def _is_made(self, node: ast.expr) -> bool:
        """Whether the input of a model was made for it, by an expression here or by a selection before under any name."""
        if isinstance(node, ast.Name):
            values = self.symbols.bindings.get(node.id, [])
            return any(isinstance(part, ast.Subscript) for value in values for part in islice(walk(value), _PARTS))
        return has_content(node) and not isinstance(node, ast.Starred)

    def _validates(self, call: ast.Call) -> bool:
        """Whether training scores held-out data on the way."""
        for keyword in call.keywords:
            if keyword.arg in ("validation_data", "validation_split"):
                return True
            # An `eval_set` is often the training set itself, to watch the loss.
            if keyword.arg in ("eval_set", "valid_sets", "evals") and self.values.is_held_out([keyword.value]):
                return True
        return False

    def _constructs(self, call: ast.Call, name: str) -> bool:
        """Whether a call that gives a model makes a new one."""
        # `model.to("cuda")` and `frame.copy()` pass on what exists.
        if name in vocabulary.MODEL_KEEPING | vocabulary.FRAME_KEEPING | vocabulary.PASS_THROUGH_ITERATORS:
            return False
        # A function of the program defines the model where its body does (`_summary`).
        return self.symbols.local_function(call) is None and name not in ("clone", "deepcopy")

    def _takes_model(self, call: ast.Call, receiver: ast.expr | None) -> bool:
        values = [*call.args, *(keyword.value for keyword in call.keywords)]
        if receiver is not None and self.values.is_model(receiver):
            return True
        # `cross_val_score(m, X, y)` trains whatever `m` is called.
        return any(self.values.is_model(value) for value in values) or len(values) >= 3

    def _is_tokenizer(self, func: ast.expr) -> bool:
        return (
            isinstance(func, ast.Name) and func.id not in self.symbols.functions and self.values.is_transformer(func)
        )

    # Scores and predictions

    def _of_attribute(self, node: ast.Attribute) -> State:
        if not isinstance(node.ctx, ast.Load):
            return NOTHING
        is_own = (
            self.own_code.binds_any_name
            or node.attr in self.symbols.bindings
            or f".{node.attr}" in self.symbols.bindings
        )
        is_score = node.attr in vocabulary.SCORE_ATTRIBUTES and not is_own
        # `best_value` is a common name, so only that of an Optuna study counts.
        is_score |= node.attr == "best_value" and "study" in self.values.of(node.value)
        return reached(Milestone.EVALUATED_MODEL) if is_score else NOTHING

    def _is_metric(self, dotted: str, name: str) -> bool:
        return name in vocabulary.METRIC_FUNCTIONS or dotted.startswith("sklearn.metrics.")


def has_content(value: ast.expr) -> bool:
    """Whether a value is more than a constant, a container of constants or a file that was only read.

    `X = []` and `X = pd.read_csv(path)` are no features yet.
    """
    spend()
    match value:
        case ast.Constant() | ast.JoinedStr() | ast.Lambda():
            return False
        case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts):
            return any(map(has_content, parts))
        case ast.Dict(values=values):
            return any(map(has_content, values))
        case ast.Call(args=[], keywords=[], func=ast.Name(id="list" | "dict" | "set")):
            return False
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in vocabulary.READERS:
            return False
    return True
