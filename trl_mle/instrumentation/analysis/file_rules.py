"""File rules: which calls read the training data and write the submission."""

from __future__ import annotations

import ast

from trl_mle.instrumentation.analysis import vocabulary
from trl_mle.instrumentation.analysis.budget import spend
from trl_mle.instrumentation.analysis.symbols import Symbols
from trl_mle.instrumentation.analysis.values import Values


class FileRules:
    """Judges the reads and writes of one program."""

    def __init__(self, symbols: Symbols, values: Values):
        self.symbols = symbols
        self.values = values
        self._loads_train: bool | None = None
        self._wraps: dict[tuple[int, int], bool] = {}

    def counts_as_load(self, call: ast.Call) -> bool:
        """Whether a read is a read of the training data.

        A train file counts. A file without a telling name counts only if the program names no train file anywhere. Text of the
        program itself (`StringIO("a,b\\n1,2")`) is no file.
        """
        if any(self._is_own_text(part) for part in call.args[:1]):
            return False
        file = self.values.paths.file_of(call)
        if self._loads_train is None:
            sites = [
                site
                for name in self.symbols.calls
                if name.lstrip(".") in {*vocabulary.READERS, "open"}
                for site in self.symbols.calls[name]
            ]
            self._loads_train = any(self.values.paths.file_of(site.call) == "train" for site in sites)
        return file == "train" or (file in ("unknown", "other") and not self._loads_train)

    def _is_own_text(self, source: ast.expr) -> bool:
        values = self.symbols.values_of(source.id) if isinstance(source, ast.Name) else [source]
        return bool(values) and all(
            isinstance(value, ast.Call)
            and self.symbols.dotted(value.func).rpartition(".")[2] in ("StringIO", "BytesIO")
            and all(self._is_constant(part) for part in value.args)
            for value in values
        )

    def _is_constant(self, value: ast.expr) -> bool:
        values = self.symbols.values_of(value.id) if isinstance(value, ast.Name) else [value]
        return bool(values) and all(isinstance(part, ast.Constant) for part in values)

    def is_reading(self, node: ast.expr) -> bool:
        """Whether iteration over `node` reads the training data (`csv.reader(f)`, an open file)."""
        spend()
        if isinstance(node, ast.Call):
            name = self.symbols.dotted(node.func).rpartition(".")[2]
            if name == "open":
                return self.opens(node, "r")
            if name in ("reader", "DictReader", "enumerate", "list", "readlines"):
                inner = [*node.args[:1], *([node.func.value] if isinstance(node.func, ast.Attribute) else [])]
                return any(self.is_reading(part) for part in inner)
        if isinstance(node, ast.Name):
            values = self.symbols.bindings.get(node.id, [])
            return any(isinstance(value, ast.Call) and self._opens_or_wraps(value, 3) for value in values)
        return False

    def _opens_or_wraps(self, call: ast.Call, depth: int) -> bool:
        """Whether `call` opens the training data, or wraps a reader around an open file, at most `depth` times."""
        if (id(call), depth) not in self._wraps:
            self._wraps[id(call), depth] = self._find_wraps(call, depth)
        return self._wraps[id(call), depth]

    def _find_wraps(self, call: ast.Call, depth: int) -> bool:
        spend()
        if self.opens(call, "r"):
            return True
        name = self.symbols.dotted(call.func).rpartition(".")[2]
        if depth == 0 or name not in ("reader", "DictReader") or not call.args:
            return False
        argument = call.args[0]
        values = self.symbols.bindings.get(argument.id, []) if isinstance(argument, ast.Name) else [argument]
        return any(isinstance(value, ast.Call) and self._opens_or_wraps(value, depth - 1) for value in values)

    def opens(self, call: ast.Call, mode: str) -> bool:
        """Whether `call` opens the training data (`r`) or the submission (`w`)."""
        name = self.symbols.dotted(call.func).rpartition(".")[2]
        if name != "open":
            return False
        # `Path(p).open("w")` has the mode first, `open(p, "w")` second.
        rest = call.args if self.values.paths.is_path_method(call) else call.args[1:]
        modes = [*rest[:1], *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
        text = next((str(value.value) for value in modes if isinstance(value, ast.Constant)), "r")
        writes = any(letter in text for letter in "wxa")
        if mode == "w":
            return writes and self.values.paths.file_of(call) == "submission"
        return not writes and self.counts_as_load(call)

    def writes_submission(self, call: ast.Call, name: str, dotted: str) -> bool:
        if name in vocabulary.WRITERS:
            if name == "write_text" and isinstance(call.func, ast.Attribute):
                return self._is_submission(call.func.value)  # the path is the receiver
            path = [*call.args[:1], *(keyword.value for keyword in call.keywords if "path" in (keyword.arg or ""))]
            return bool(path) and self._is_submission(path[0])
        # A file opened in place is closed at the end of the statement. One that is bound is complete at its `close`.
        if name in vocabulary.STREAM_WRITERS and isinstance(call.func, ast.Attribute):
            return isinstance(call.func.value, ast.Call) and self.opens(call.func.value, "w")
        if name == "print":
            files = [keyword.value for keyword in call.keywords if keyword.arg == "file"]
            return any(isinstance(file, ast.Call) and self.opens(file, "w") for file in files)
        # Programs also write elsewhere and move the file: only the destination counts.
        if name in vocabulary.FILE_MOVES and dotted.split(".")[0] in ("shutil", "os") and len(call.args) == 2:
            return self._is_submission(call.args[1])
        if name == "close" and isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name):
            values = self.symbols.bindings.get(call.func.value.id, [])
            return any(isinstance(value, ast.Call) and self.opens(value, "w") for value in values)
        return False

    def _is_submission(self, path: ast.expr) -> bool:
        return self.values.paths.file(path) == "submission"
