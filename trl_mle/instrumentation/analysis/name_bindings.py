"""Name bindings: whether a program gives a name another meaning, so that an inserted print cannot rely on it."""

from __future__ import annotations

import ast
from collections.abc import Collection

from trl_mle.instrumentation.analysis.budget import walk

BINDS_ANY_NAME = frozenset({"globals", "locals", "vars", "exec", "eval", "compile", "setattr", "delattr"})
BINDS_ANY_ATTRIBUTE = frozenset(
    {"__dict__", "__globals__", "__setattr__", "__delattr__", "setitem", "delitem", "__setitem__"}
)
"""Names by which a program may bind `print` or `sys.stdout` although its text does not say so."""
_REPLACES_STDOUT = frozenset(
    {"redirect_stdout", "captured_stdout", "captured_output", "capture_output", "CliRunner", "capsys", "doctest"}
)
"""What puts another stream in the place of standard output for a while, and shows the program what was written to it."""


_TYPE_PARAMETERS = frozenset({"TypeVar", "TypeVarTuple", "ParamSpec"})
"""Nodes of Python 3.12 and newer: `def f[print](x)`."""


def needs_robust_print(tree: ast.AST) -> bool:
    """Whether the program could make the plain `print(...)` mean something else."""
    if binds(tree, {"print"}):
        return True
    for node in walk(tree):
        match node:
            case ast.alias(name=name) | ast.ImportFrom(module=str(name)) if not _REPLACES_STDOUT.isdisjoint(
                name.split(".")
            ):
                return True
            case ast.arg(arg="capsys"):
                return True
            case ast.Attribute(attr="stdout", ctx=ast.Store() | ast.Del()):
                return True
            case ast.Name(id=name) | ast.Attribute(attr=name) if name in _REPLACES_STDOUT:
                return True
            case ast.Name(id=name) if name in BINDS_ANY_NAME:
                return True
            case ast.Attribute(attr=name) | ast.alias(name=name) if name in BINDS_ANY_ATTRIBUTE:
                return True
            case ast.Call(func=ast.Name(id="setattr"), args=[_, ast.Constant(value="stdout"), *_]):
                return True
    return False


def binds(tree: ast.AST, names: Collection[str], stars: bool = True) -> bool:
    """Whether the program binds or deletes one of `names`, as a variable or an attribute. A star import might, if `stars`."""
    names = {"*", *names} if stars else {*names}
    for node in walk(tree):
        if type(node).__name__ in _TYPE_PARAMETERS and getattr(node, "name", None) in names:
            return True
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()) | ast.arg(arg=name) if name in names:
                return True
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name) if (
                name in names
            ):
                return True
            case ast.ExceptHandler(name=name) | ast.MatchAs(name=name) | ast.MatchStar(name=name) if name in names:
                return True
            case ast.MatchMapping(rest=name) | ast.Attribute(attr=name, ctx=ast.Store() | ast.Del()) if name in names:
                return True
            case ast.Global(names=declared) | ast.Nonlocal(names=declared) if not names.isdisjoint(declared):
                return True  # an error of the compiler if the name was used before, as by a mark
            case ast.alias() if (node.asname or node.name).split(".")[0] in names:
                return True
            case ast.Call(func=ast.Name(id="setattr"), args=[_, ast.Constant(value=name), *_]) if name in names:
                return True
    return False
