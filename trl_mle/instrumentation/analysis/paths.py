"""Paths: which file of the task a path names, by the strings and names in it."""

from __future__ import annotations

import ast
from itertools import islice

from trl_mle.instrumentation.analysis.budget import spend, walk
from trl_mle.instrumentation.analysis.symbols import Symbols

_TEXTS = 40
"""How many strings and names of a path are looked at."""
_VALUES = 8
"""How many values of the result of a parser are looked at."""
_NO_DATA = ("/dev/", "/proc/", "/sys/", "/etc/")
_SHARED_MEMORY = "/dev/shm/"
_TO_FOLDER = frozenset({"parent", "parents", "dirname", "with_name"})
"""Names in the path of a file beside the program: `Path(__file__).parent / name`."""
_PATH_METHODS = frozenset({"read_text", "read_bytes", "write_text", "open"})


class Paths:
    """Judges the paths of one program."""

    def __init__(self, symbols: Symbols):
        self.symbols = symbols
        self._files: dict[int, str] = {}
        self._defaults: dict[str, list[ast.expr]] | None = None
        self._path_texts: dict[tuple[int, int], frozenset[tuple[str, bool]]] = {}

    def file_of(self, call: ast.Call) -> str:
        """The file that a call names: `train`, `test`, `sample`, `submission`, `other`, `unknown` or `none`."""
        candidates = [*call.args[:1], *(item.value for item in call.keywords if item.arg and "path" in item.arg)]
        candidates += [item.value for item in call.keywords if item.arg in ("file", "fname")]
        # `(folder / "train.csv").open()`: the receiver is the path.
        if isinstance(call.func, ast.Attribute) and self.is_path_method(call):
            candidates = [call.func.value]
        return self.file(candidates[0]) if candidates else "unknown"

    def is_path_method(self, call: ast.Call) -> bool:
        """Whether `call` is a method of a path (`Path("train.csv").open()`) and not a function of a module (`io.open`)."""
        if not isinstance(call.func, ast.Attribute) or call.func.attr not in _PATH_METHODS:
            return False
        value = call.func.value
        return not (isinstance(value, ast.Name) and value.id in self.symbols.imports)

    def file(self, path: ast.expr) -> str:
        """The file that `path` names, by the strings in it first and by the variable names second."""
        if id(path) not in self._files:
            self._files[id(path)] = self._file(path)
        return self._files[id(path)]

    def _file(self, path: ast.expr) -> str:
        texts = self._texts(path, 4)
        spend(len(texts) + sum(len(text) >> 8 for text, _ in texts))
        strings = [text for text, literal in texts if literal]
        names = [text for text, literal in texts if not literal]
        if _holds_no_data(strings, names):
            return "none"
        # File names outweigh folders (`train_run/submission.csv`), and strings outweigh variables (`train_path = "test.csv"`).
        for group in ([text.replace("\\", "/").rpartition("/")[2] for text in strings], strings, names):
            files = {_file_kind(text) for text in group} - {""}
            # `{"train": ..., "test": ...}[name]` may be either. A read that may be of the train file counts as one.
            for file in ("train", "submission", "sample", "test"):
                if file in files:
                    return file
        return "other" if any("." in text for text in strings) else "unknown"

    def _argument_defaults(self) -> dict[str, list[ast.expr]]:
        """Name of a command line argument -> its defaults. A program is run without arguments."""
        if self._defaults is None:
            self._defaults = {}
            for site in self.symbols.calls.get(".add_argument", []):
                spend()
                keywords = {keyword.arg: keyword.value for keyword in site.call.keywords}
                name = keywords.get("dest", next(iter(reversed(site.call.args)), None))
                if isinstance(name, ast.Constant) and isinstance(name.value, str) and "default" in keywords:
                    attribute = name.value.lstrip("-").replace("-", "_")
                    self._defaults.setdefault(attribute, []).append(keywords["default"])
        return self._defaults

    def _is_arguments(self, node: ast.expr) -> bool:
        """Whether `node` holds what the program is given on its command line, which is nothing."""
        values = self.symbols.values_of(node.id)[:_VALUES] if isinstance(node, ast.Name) else []
        spend(len(values))
        return bool(values) and all(isinstance(value, ast.Call) and self._parses(value, 2) for value in values)

    def _parses(self, call: ast.Call, depth: int) -> bool:
        if isinstance(call.func, ast.Attribute) and call.func.attr in ("parse_args", "parse_known_args"):
            return not call.keywords and all(map(self._is_nothing, call.args))
        function = self.symbols.local_function(call)
        if function is None or depth == 0:
            return False
        returned = self.symbols.returns.get(id(function), [])[:_VALUES]
        spend(len(returned))
        return bool(returned) and all(
            isinstance(value, ast.Call) and self._parses(value, depth - 1) for value in returned
        )

    def _is_nothing(self, arguments: ast.expr) -> bool:
        match arguments:
            case ast.Constant(value=None) | ast.List(elts=[]):
                return True
            case ast.Subscript(value=ast.Attribute(attr="argv")):
                return True
            case ast.Name(id=name):
                # `main(argv=None)` passes it on.
                values = self.symbols.bindings.get(name, [])[:_VALUES]
                others = [value for value in values if not (isinstance(value, ast.Name) and value.id == name)]
                return all(not isinstance(value, ast.Name) and self._is_nothing(value) for value in others)
        return False

    def _texts(self, node: ast.expr | None, depth: int) -> frozenset[tuple[str, bool]]:
        """(Text, whether it is a literal) of the strings and names in `node`, and in what the names are bound to."""
        if node is None or depth == 0:
            return frozenset()
        if (id(node), depth) not in self._path_texts:
            texts: set[tuple[str, bool]] = set()
            for inner in islice(walk(node), _TEXTS):
                if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
                    spend(len(inner.value) >> 8)
                    texts.add((inner.value.lower(), True))
                elif isinstance(inner, (ast.Name, ast.Attribute)):
                    name = inner.id if isinstance(inner, ast.Name) else inner.attr
                    texts.add((name.lower(), False))
                    key = name if isinstance(inner, ast.Name) else f".{name}"
                    values = self.symbols.bindings.get(key, self.symbols.bindings.get(name, []))
                    if isinstance(inner, ast.Attribute) and key not in self.symbols.bindings:
                        defaults = self._argument_defaults().get(name, [])
                        values = defaults if defaults and self._is_arguments(inner.value) else values
                    for value in values:
                        found = self._texts(value, depth - 1)
                        spend(len(found))
                        texts |= found
            self._path_texts[id(node), depth] = frozenset(texts)
        return self._path_texts[id(node), depth]


def _holds_no_data(strings: list[str], names: list[str]) -> bool:
    """Whether a path is that of a device or of the program itself, and not of a file beside the program."""
    is_device = [text.startswith(_NO_DATA) and not text.startswith(_SHARED_MEMORY) for text in strings]
    if any(("." in text or _file_kind(text)) and not device for text, device in zip(strings, is_device, strict=True)):
        return False
    return any(is_device) or ("__file__" in names and _TO_FOLDER.isdisjoint(names))


def _file_kind(text: str) -> str:
    if "train" in text:
        return "train"
    if "sample" in text:
        return "sample"
    if "submission" in text or text in ("sub", "submit"):
        return "submission"
    return "test" if "test" in text else ""
