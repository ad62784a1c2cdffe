"""Values: what a value is (model, transformer, loaded data ...), whether a score is held out. Files are in `paths`.

Names and bindings decide. Every question has an answer for every expression, and recursion is bounded.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from trl_mle.instrumentation.analysis import vocabulary
from trl_mle.instrumentation.analysis.budget import spend, walk
from trl_mle.instrumentation.analysis.paths import Paths
from trl_mle.instrumentation.analysis.symbols import Symbols, item_key

_DEPTH = 6
"""How many bindings are followed from one expression."""
_VALUES = 40
"""How many expressions of a name are looked at."""
_NOTHING: frozenset[str] = frozenset()
_OF_FILE = {
    "submission": frozenset({"submission"}),
    "sample": frozenset({"submission"}),
    "test": frozenset({"test"}),
}
_PIPELINES = frozenset({"Pipeline", "make_pipeline", "TransformedTargetRegressor", "ImbPipeline"})
_COLUMN_WISE = frozenset({"ColumnTransformer", "make_column_transformer", "make_union"})
_SAME_AS_ARGUMENT = frozenset({"concat", "clone", "deepcopy", "compile", "DataParallel", "DataFrame", "vstack"})


class Values:
    """Judges the expressions of one program.

    A value has tags: `model`, `transformer`, `pipeline` (a model that transforms first), `search`, `trainer`, `study`,
    `data`, `test` (the data to predict), `submission` (a frame of predictions), `out_of_fold`, `splitter`.
    """

    def __init__(self, symbols: Symbols):
        self.symbols = symbols
        self.paths = Paths(symbols)
        self._known: dict[int, frozenset[str]] = {}
        self._shallow: dict[tuple[int, int], frozenset[str]] = {}
        """(`id` of a node, depth) -> its tags if only so many bindings are followed."""
        self._in_progress: set[int] = set()
        self._cycles = 0
        """How often a value was asked for while it was being found."""
        self._classes: dict[str, frozenset[str]] = {}
        self._held_out: dict[str, bool] = {}

    # Values

    def of(self, node: ast.expr | None, depth: int = _DEPTH) -> frozenset[str]:
        """The tags of a value. Empty if nothing is known."""
        if node is None or depth == 0:
            return _NOTHING
        if id(node) in self._known:
            return self._known[id(node)]
        if id(node) in self._in_progress:
            self._cycles += 1
            return _NOTHING  # ends the recursion through `model = model.fit(...)`
        if (id(node), depth) in self._shallow:
            return self._shallow[id(node), depth]
        spend()
        cycles = self._cycles
        self._in_progress.add(id(node))
        tags = self._of(node, depth)
        self._in_progress.discard(id(node))
        if depth == _DEPTH:
            self._known[id(node)] = tags
        elif (
            cycles == self._cycles
        ):  # a shallow answer may be incomplete, and one inside a cycle depends on where it began
            self._shallow[id(node), depth] = tags
        return tags

    def _of(self, node: ast.expr, depth: int) -> frozenset[str]:
        match node:
            case ast.Name(id=name):
                # A container is what its items are: after `models["a"] = Ridge()`, `models` is a model to the rules.
                return self._of_bound(name, depth) | self._of_bound(f"[{name}]", depth)
            case ast.Attribute(value=value, attr=attr):
                # An attribute of a search (`best_estimator_`) is a model, but no search any more.
                return self._of_bound(f".{attr}", depth) | (self.of(value, depth - 1) - {"search"})
            case ast.Subscript(value=value) | ast.Starred(value=value) | ast.Await(value=value):
                return self.of(value, depth - 1)
            case ast.NamedExpr(value=value):
                return self.of(value, depth - 1)
            case ast.Tuple(elts=parts) | ast.List(elts=parts) | ast.Set(elts=parts):
                return self._union(parts, depth)
            case ast.Dict(values=parts) | ast.BoolOp(values=parts):
                return self._union(parts, depth)
            case ast.IfExp(body=body, orelse=orelse):
                return self._union([body, orelse], depth)
            case ast.ListComp(elt=value) | ast.GeneratorExp(elt=value) | ast.DictComp(value=value):
                return self.of(value, depth - 1)
            case ast.Call():
                return self.of_call(node, depth)
        return _NOTHING

    def _of_bound(self, name: str, depth: int) -> frozenset[str]:
        return self._union(self.symbols.bindings.get(name, []), depth)

    def _union(self, nodes: list[ast.expr], depth: int) -> frozenset[str]:
        return _NOTHING.union(*(self.of(node, depth - 1) for node in nodes[:_VALUES]))

    def of_call(self, call: ast.Call, depth: int = _DEPTH) -> frozenset[str]:
        """The tags of what `call` returns."""
        dotted = self.symbols.dotted(call.func)
        name = dotted.rpartition(".")[2]
        receiver = call.func.value if isinstance(call.func, ast.Attribute) else None
        if name in self.symbols.classes:
            return self.of_class(name)
        function = self.symbols.local_function(call)
        # `self.fit(...)` of an own class often returns nothing that can be told. The receiver says more (below).
        if function is not None and not (receiver is not None and name in vocabulary.MODEL_KEEPING):
            return self._union(self.symbols.returns.get(id(function), []), depth)
        if name in vocabulary.READERS or (receiver is None and name == "open"):
            return _OF_FILE.get(self.paths.file_of(call), frozenset({"data"}))
        if name == "from_pretrained" and receiver is not None:
            return _of_class_name(self.symbols.dotted(receiver).rpartition(".")[2])
        if name in _PIPELINES:
            # A pipeline without a model in it only transforms.
            parts = _NOTHING.union(
                *(self.of(part, depth - 1) for part in (*call.args, *(item.value for item in call.keywords)))
            )
            # If nothing in it is known, a pipeline is taken for a model: that is its usual end.
            if "model" in parts or "transformer" not in parts:
                return (parts & {"transformer"} and frozenset({"pipeline"})) | {"model"}
            return frozenset({"transformer"})
        if name in _COLUMN_WISE:
            return frozenset({"transformer"})
        if name == "cross_val_predict":
            return frozenset({"out_of_fold"})
        if name == "create_study":
            return frozenset({"study"})
        if name == "train" and dotted.split(".")[0] in vocabulary.BOOSTER_LIBRARIES:
            return frozenset({"model"})
        # A frame made from data is data. A frame made from a submission need not be one.
        if name in _SAME_AS_ARGUMENT and call.args:
            return self.of(call.args[0], depth - 1) - {"submission"}
        if _is_class_like(name) or name in vocabulary.MODEL_FACTORIES:
            tags = _of_class_name(name)
            # A search over a pipeline transforms in its `fit` as well.
            if tags & {"search", "model"} and any("pipeline" in self.of(part, depth - 1) for part in call.args):
                tags |= {"pipeline"}
            return tags
        if dotted.startswith(("torchvision.models.", "models.")):
            return frozenset({"model"})
        if (
            receiver is not None
            and name in vocabulary.MODEL_KEEPING | vocabulary.FRAME_KEEPING | vocabulary.PASS_THROUGH_ITERATORS
        ):
            return self.of(receiver, depth - 1)
        if name in vocabulary.PASS_THROUGH_ITERATORS | {"zip"}:
            return self._union(call.args, depth)
        return _NOTHING

    def of_class(self, name: str) -> frozenset[str]:
        """The tags of an instance of the class `name` that the program defines."""
        if name not in self._classes:
            self._classes[name] = _NOTHING  # ends the recursion of `class Net(Net)`
            self._classes[name] = self._of_class(name)
        return self._classes[name]

    def _of_class(self, name: str) -> frozenset[str]:
        node = self.symbols.classes[name]
        bases = {self.symbols.dotted(base).rpartition(".")[2] for base in node.bases}
        methods = {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
        if bases & vocabulary.MODEL_BASES or any("model" in _of_class_name(base) for base in bases):
            return frozenset({"model"})
        spend(1 + len(bases) + len(methods))
        inherited = _NOTHING.union(*(self.of_class(base) for base in bases if base in self.symbols.classes))
        if inherited:
            return inherited
        # A class of its own kind is a model by what it offers, as scikit-learn decides too.
        if "fit" in methods and methods & {"predict", "predict_proba"}:
            return frozenset({"model"})
        return frozenset({"transformer"}) if "transform" in methods else _NOTHING

    def is_model(self, node: ast.expr) -> bool:
        """Whether `node` is a model, by what it is bound to or, if that is unknown, by its name."""
        tags = self.of(node)
        if tags & {"model", "search", "trainer"}:
            return True
        # Bindings outweigh names: `pipe = StandardScaler()` is no model whatever it is called.
        return not tags and vocabulary.MODEL_NAME.fullmatch(_last_name(node)) is not None

    def is_transformer(self, node: ast.expr) -> bool:
        """Whether `node` transforms features, by what it is bound to or by its name."""
        tags = self.of(node)
        if tags & {"model", "search", "trainer"}:
            return False
        return "transformer" in tags or vocabulary.TRANSFORMER_NAME.fullmatch(_last_name(node)) is not None

    def is_data(self, node: ast.expr) -> bool:
        """Whether `node` is loaded data (not a frame of predictions)."""
        name = _last_name(node)
        # `sub["y"] = ...` fills in predictions, and features are never built on it.
        if vocabulary.SUBMISSION_NAME.fullmatch(name):
            return False
        tags = self.of(node)
        # A frame that is called `data` but read from the test file is not the training data.
        return "data" in tags or ("test" not in tags and vocabulary.DATA_NAME.fullmatch(name) is not None)

    # Scores

    def is_held_out(self, nodes: list[ast.expr]) -> bool:
        """Whether a score of `nodes` is a score on data that was held out of training.

        Names decide first (`y_val`, `oof`, `y[test_idx]`), then what they are bound to. The rows from some row on
        (`y[800:]`) are held out too. A name that says neither counts if the program holds data out somewhere and does
        not fit on that name.
        """
        names = [name for node in nodes for name in _names(node)]
        if any(self._says_held_out(name, 3) for name in names) or any(map(_takes_last_rows, nodes)):
            return True
        # One training part spoils the score: `accuracy_score(y_train, p)`.
        if any(vocabulary.TRAINING_PART.search(name) for name in names):
            return False
        if any(tags & {"out_of_fold"} for tags in map(self.of, nodes)):
            return True
        items = [key for node in nodes for part in walk(node) if (key := item_key(part)) is not None]
        return bool(names) and self.symbols.splits and not self.symbols.fitted_on.intersection([*names, *items])

    def is_held_out_target(self, node: ast.expr) -> bool:
        """Whether `node` is made from the true answers of held-out data. For hand-written metrics."""
        names = list(_names(node))
        # A mean of differences is a score only if one side holds answers: `np.mean(X_val - X_mean)` is none.
        targets = [name for name in names if self._is_target(name)]
        if any(self._says_held_out(name, 3) for name in targets) or (targets and _takes_last_rows(node)):
            return True
        # What a split returns is an answer unless its name says that it is an input.
        if isinstance(node, ast.Name) and node.id in self.symbols.held_out:
            return vocabulary.INPUT_NAME.fullmatch(node.id) is None
        return bool(targets) and self.says_held_out(node)

    def is_target(self, node: ast.expr) -> bool:
        """Whether `node` is made from true answers."""
        return any(map(self._is_target, _names(node)))

    def is_prediction(self, node: ast.expr) -> bool:
        """Whether a name in `node`, or one that is bound to it, says that it holds predictions."""
        return any(
            vocabulary.PREDICTION_NAME.search(inner)
            for name in _names(node)
            for inner in (name, *self._other_names(name))
        )

    def says_held_out(self, node: ast.expr) -> bool:
        """Whether a name in `node`, or one that is bound to it, says that its rows were held out."""
        return any(
            vocabulary.HELD_OUT.search(inner) or inner in self.symbols.held_out
            for name in _names(node)
            for inner in (name, *self._other_names(name))
        )

    def _is_target(self, name: str) -> bool:
        return any(
            vocabulary.TARGET_NAME.fullmatch(inner) and "pred" not in inner.lower()
            for inner in (name, *self._other_names(name))
        )

    def _other_names(self, name: str) -> list[str]:
        """Names that the variable or parameter `name` is another name of."""
        values = self.symbols.bindings.get(name, [])[:_VALUES]
        spend(len(values))
        found = [_last_name(value) for value in values if isinstance(value, (ast.Name, ast.Attribute, ast.Subscript))]
        columns = [value.slice for value in values if isinstance(value, ast.Subscript)]
        found += [
            column.value for column in columns if isinstance(column, ast.Constant) and isinstance(column.value, str)
        ]
        return found + [_last_name(column) for column in columns if isinstance(column, (ast.Name, ast.Attribute))]

    def _says_held_out(self, name: str, depth: int) -> bool:
        if vocabulary.HELD_OUT.search(name) or name in self.symbols.held_out:
            return True
        if depth == 0 or vocabulary.TRAINING_PART.search(name):
            return False
        if name not in self._held_out:
            self._held_out[name] = False  # ends the recursion through `y = y[rows]`
            # Only selections are followed: what a call returns is not the data that it was given.
            simple = (ast.Name, ast.Subscript, ast.Attribute)
            values = [value for value in self.symbols.bindings.get(name, []) if isinstance(value, simple)]
            self._held_out[name] = any(
                self._says_held_out(inner, depth - 1) for value in values for inner in _names(value)
            ) or any(map(_takes_last_rows, values))
        return self._held_out[name]


def _takes_last_rows(node: ast.expr) -> bool:
    """Whether `node` selects the rows from some row on: `y[800:]`, `X.iloc[n:]`, `X[-200:, 1]`."""
    for part in walk(node):
        if isinstance(part, ast.Subscript):
            rows = part.slice.elts[0] if isinstance(part.slice, ast.Tuple) and part.slice.elts else part.slice
            if isinstance(rows, ast.Slice) and rows.lower is not None and rows.upper is None:
                return True
    return False


def _of_class_name(name: str) -> frozenset[str]:
    if vocabulary.SPLITTER_CLASS.fullmatch(name):
        return frozenset({"splitter"})
    if vocabulary.TRAINER_CLASS.fullmatch(name):
        return frozenset({"trainer"})
    if vocabulary.TRANSFORMER_CLASS.fullmatch(name):
        return frozenset({"transformer"})
    # The pattern of models matches a search as well, so a search is tested first.
    if name.endswith("SearchCV"):
        return frozenset({"search", "model"})
    if vocabulary.MODEL_CLASS.fullmatch(name) or name in vocabulary.MODEL_FACTORIES:
        return frozenset({"model"})
    return _NOTHING


def _is_class_like(name: str) -> bool:
    return name[:1].isupper()


def _last_name(node: ast.expr) -> str:
    while isinstance(node, ast.Subscript):
        node = node.value
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _names(node: ast.expr) -> Iterator[str]:
    """The names in an expression, except called functions and receivers of `predict`.

    In `f1_score(y, model_val.predict(X))`, neither `f1_score` nor `model_val` says which rows are scored.
    """
    skipped: set[int] = set()
    for inner in _first(walk(node), 200):
        if isinstance(inner, ast.Call):
            skipped.update(id(part) for part in walk(inner.func) if isinstance(inner.func, ast.Name))
            if isinstance(inner.func, ast.Attribute) and isinstance(inner.func.value, ast.Name):
                skipped.add(id(inner.func))
                if inner.func.attr.startswith("predict"):
                    skipped.add(id(inner.func.value))
        if id(inner) in skipped:
            continue
        if isinstance(inner, ast.Name):
            yield inner.id
        elif isinstance(inner, ast.Attribute):
            yield inner.attr


def _first(nodes: Iterator[ast.AST], count: int) -> Iterator[ast.AST]:
    for _, node in zip(range(count), nodes, strict=False):
        yield node
