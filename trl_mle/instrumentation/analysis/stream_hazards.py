"""Hazards of standard output: programs that close it, replace its descriptor, or change how it writes.

A mark is written to the stream with which the interpreter has started. If that is closed, the mark raises. A stream that the
program puts into `sys.stdout` is no hazard: the robust spelling of a mark does not use it.
"""

from __future__ import annotations

import ast

from trl_mle.instrumentation.analysis.budget import walk

_METHODS = frozenset({"write", "flush", "__stdout__"})
_CLOSES_ITS_STREAM = frozenset(
    {"TextIOWrapper", "BufferedWriter", "BufferedRWPair", "closing", "enter_context", "push"}
)
"""Calls whose result closes the stream that they are given, at the latest when it is forgotten."""
_OPENS = frozenset({"open", "fdopen", "FileIO"})
_OF_DESCRIPTORS = frozenset({"dup2", "closerange", "set_blocking"})


class StreamHazards:
    """What one program does to standard output."""

    def __init__(self, tree: ast.Module):
        self._streams: set[str] = set()
        """Names that the program gives to standard output: `from sys import stdout`, `out = sys.stdout`."""
        self._numbers: set[str] = set()
        """Names of its descriptor: `number = sys.stdout.fileno()`, `number = 1`."""
        self._looped: set[str] = set()
        """Variables of loops over numbers that the text gives."""
        self._os = {"os", "posix"}
        """Names of the module whose `close` takes a descriptor."""
        replaced = 0
        for node in walk(tree):
            match node:
                case ast.alias(name="stdout" | "__stdout__"):
                    self._streams.add(node.asname or node.name)
                case ast.alias(name="os" | "posix", asname=str(name)):
                    self._os.add(name)
                case ast.Assign(targets=targets, value=value):
                    self._assign({name for target in targets for name in _names(target)}, value)
                case ast.For(target=target, iter=values) | ast.comprehension(target=target, iter=values):
                    if _may_have_numbers(values):
                        self._looped.update(_names(target))
                case ast.Attribute(attr="stdout", ctx=ast.Store()):
                    replaced += 1
        # One wrapper lives as long as the program. A second one ends the first, and with it the stream below.
        wrappers = [_wrapper_for_good(statement) for statement in tree.body] if replaced == 1 else []
        self._for_good = {id(call) for call in wrappers if call is not None}

    def find(self, node: ast.AST) -> str | None:
        """Why the program that holds `node` must not be instrumented, or `None`."""
        match node:
            case ast.Attribute(attr="close" | "detach" | "__exit__" | "__del__", value=value) if self._is_stream(
                value
            ):
                return "the program closes standard output"
            case ast.withitem(context_expr=value) if self._is_stream(value):
                return "the program closes standard output"
            case ast.Attribute(attr=name, value=value, ctx=ast.Store() | ast.Del()) if name in _METHODS and (
                name == "__stdout__" or self._is_stream(value)
            ):
                return f"the program replaces `{name}` of a stream"
            case ast.Call(func=ast.Attribute(attr="fcntl") | ast.Name(id="fcntl")):
                return "the program changes a descriptor"
            case ast.Attribute(attr=name) | ast.alias(name=name) if name in _OF_DESCRIPTORS:
                return "the program replaces a standard stream"
            case ast.Call(func=ast.Name(id="setattr" | "delattr"), args=[_, ast.Constant(value=str(name)), *_]) if (
                name in _METHODS
            ):
                return f"the program replaces `{name}` of a stream"
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
                return self._of_call(node, name)
        return None

    def _of_call(self, call: ast.Call, name: str) -> str | None:
        given = call.args[0] if call.args else call.keywords[0].value if call.keywords else None
        if given is None:
            return None
        if name in _CLOSES_ITS_STREAM and self._is_stream(given) and id(call) not in self._for_good:
            return "the program gives standard output to an object that closes it"
        # A path may be the variable of a loop too.
        is_path = name == "open" and isinstance(given, ast.Name) and given.id not in self._numbers
        if name in _OPENS and self._is_number(given) and not is_path and not _keeps_open(call):
            return "the program opens standard output by its number"
        if name == "close" and self._is_of_os(call.func) and self._is_number(given):
            return "the program closes a descriptor that may be standard output"
        if name == "reconfigure" and (self._is_stream(getattr(call.func, "value", given))) and _changes_bytes(call):
            return "the program changes how text becomes bytes"
        return None

    def _assign(self, names: set[str], value: ast.expr) -> None:
        if self._is_stream(value):
            self._streams |= names
        elif self._is_number(value):
            self._numbers |= names

    def _is_stream(self, node: ast.expr) -> bool:
        while isinstance(node, ast.Attribute) and node.attr in ("buffer", "raw"):
            node = node.value
        if isinstance(node, ast.Name):
            return node.id in self._streams
        return isinstance(node, ast.Attribute) and node.attr in ("stdout", "__stdout__")

    def _is_number(self, node: ast.expr) -> bool:
        match node:
            case ast.Constant(value=1):
                return type(node.value) is int
            case ast.Call(func=ast.Attribute(attr="fileno", value=value)):
                return self._is_stream(value)
            case ast.Name(id=name):
                return name in self._numbers or name in self._looped
        return False

    def _is_of_os(self, function: ast.expr) -> bool:
        """Whether `function` may be one of the module `os`. `close` of a library takes other things."""
        value = function.value if isinstance(function, ast.Attribute) else function
        return isinstance(value, ast.Name) and (value is function or value.id in self._os)


def _may_have_numbers(values: ast.expr) -> bool:
    """Whether a loop over `values` may meet the number of standard output: a list of constants, or a range."""
    match values:
        case ast.Tuple(elts=items) | ast.List(elts=items) | ast.Set(elts=items):
            return any(isinstance(item, ast.Constant) for item in items)
        case ast.Call(func=ast.Name(id="range" | "enumerate" | "map")):
            return True
    return False


def _names(target: ast.expr) -> list[str]:
    if isinstance(target, ast.Name):
        return [target.id]
    if isinstance(target, (ast.Tuple, ast.List)):
        return [part.id for part in target.elts if isinstance(part, ast.Name)]
    return []


def _wrapper_for_good(statement: ast.stmt) -> ast.Call | None:
    """The call in `sys.stdout = wrapper(...)`, if `statement` is that."""
    match statement:
        case ast.Assign(targets=[ast.Attribute(attr="stdout")], value=ast.Call() as call):
            return call
    return None


def _keeps_open(call: ast.Call) -> bool:
    return any(
        keyword.arg == "closefd" and isinstance(keyword.value, ast.Constant) and keyword.value.value is False
        for keyword in call.keywords
    )


def _changes_bytes(call: ast.Call) -> bool:
    """Whether `reconfigure` of a stream may turn the letters of a mark, or its line end, into other bytes."""
    for keyword in call.keywords:
        if keyword.arg in ("newline", None):
            return True
        if keyword.arg == "encoding":
            match keyword.value:
                case ast.Constant(value=str(name)) if name.lower().replace("_", "-") in (
                    *("utf-8", "utf8", "ascii", "latin-1", "latin1", "iso-8859-1", "cp1252"),
                ):
                    continue
            return True
    return False
