"""Hazards: programs that are not instrumented, because it would change what they do or they could read their own marks."""

from __future__ import annotations

import ast

from trl_mle.instrumentation.analysis.budget import walk

_OWN_CODE = frozenset({"_getframe", "currentframe", "co_consts", "co_code", "f_code", "gi_code", "__code__"})
_BUILTINS = frozenset({"builtins", "__builtins__", "__builtin__"})
_PATCHING = frozenset({"unittest.mock", "mock"})
_WATCHING = frozenset({"settrace", "setprofile", "addaudithook"})


def find_hazard(tree: ast.Module) -> str | None:
    """Why `tree` must not be instrumented, or `None`.

    The file that a program finds as its own holds no marks, but its code objects do. A program that openly inspects them
    is a hazard. A program that hides the inspection gains no more than honest progress pays: each mark has a key of its
    own, and only milestones that the instrumenter inserted count.
    """
    streams = _names_of_stdout(tree)
    for node in walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name) if name in _OWN_CODE | _WATCHING:
                return f"the program can read its own code (`{name}`)"
            case ast.Name(id=name) | ast.alias(name=name) if name.split(".")[0] in _BUILTINS:
                return f"the program can replace built-in functions (`{name}`)"
            case ast.ImportFrom(module=str(name)) | ast.alias(name=name) if name in _PATCHING:
                return f"the program can replace functions (`{name}`)"
            case ast.Attribute(attr="close" | "detach" | "__exit__", value=value) if _is_stdout(value, streams):
                return "the program closes standard output"
            case ast.withitem(context_expr=value) if _is_stdout(value, streams):
                return "the program closes standard output"
            case ast.Attribute(attr="write" | "flush" | "__stdout__", ctx=ast.Store() | ast.Del()):
                return f"the program replaces `{node.attr}` of a stream"
            case ast.Call(func=ast.Name(id="setattr" | "delattr"), args=[_, ast.Constant(value=str(name)), *_]) if (
                name in ("write", "flush", "__stdout__", "print")
            ):
                return f"the program replaces `{name}`"
            case ast.Attribute(attr="dup2" | "closerange") | ast.alias(name="dup2" | "closerange"):
                return "the program replaces a standard stream"
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=[descriptor, *_]) if name in (
                "close",
                "open",
                "fdopen",
                "FileIO",
            ) and _is_descriptor_of_stdout(descriptor):
                return "the program opens or closes standard output by its number"
    return None


def _names_of_stdout(tree: ast.Module) -> frozenset[str]:
    """Names that the program gives to standard output: `from sys import stdout`, `out = sys.stdout`."""
    names = set()
    for node in walk(tree):
        match node:
            case ast.alias(name="stdout" | "__stdout__"):
                names.add(node.asname or node.name)
            case ast.Assign(targets=targets, value=ast.Attribute(attr="stdout" | "__stdout__")):
                names.update(target.id for target in targets if isinstance(target, ast.Name))
    return frozenset(names)


def _is_stdout(node: ast.expr, names: frozenset[str]) -> bool:
    match node:
        case ast.Attribute(attr="stdout" | "__stdout__"):
            return True
        case ast.Attribute(attr="buffer" | "raw", value=value):
            return _is_stdout(value, names)
        case ast.Name(id=name):
            return name in names
    return False


def _is_descriptor_of_stdout(node: ast.expr) -> bool:
    match node:
        case ast.Constant(value=1):
            return not isinstance(node.value, bool)
        case ast.Call(func=ast.Attribute(attr="fileno", value=ast.Attribute(attr="stdout" | "__stdout__"))):
            return True
    return False
