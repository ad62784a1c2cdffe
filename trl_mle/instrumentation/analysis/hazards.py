"""Hazards: programs that are not instrumented, because it would change what they do or they could read their own marks.

A lost mark costs a program a tenth of a point, a mark that raises costs it the run. So a program that might take away what a
mark stands on runs as it is written: `print` and `__import__` of the builtins, the module `sys`, and standard output. This is for
sandboxes that run the prints as they are; those of this package compile marks that need none of it (`silent_marks.py`).
"""

from __future__ import annotations

import ast
import re

from trl_mle.instrumentation.analysis.budget import walk
from trl_mle.instrumentation.analysis.name_bindings import binds, needs_robust_print
from trl_mle.instrumentation.analysis.stream_hazards import StreamHazards
from trl_mle.parsing import parse_quietly

_OWN_CODE = frozenset({"_getframe", "currentframe", "co_consts", "co_code", "f_code", "gi_code", "__code__"})
_WATCHING = frozenset({"settrace", "setprofile", "settrace_all_threads", "setprofile_all_threads", "addaudithook"})
_WATCHERS = frozenset({"bdb", "cProfile", "coverage", "dis", "pdb", "profile", "trace"})
"""Modules that show or count each statement or call."""
_BUILTINS = re.compile(r"\b(?:__)?builtins?(?:__)?\b")
_NAME_OF_ONE = re.compile(r"(?:__builtins__|builtins)(?:\.\w{1,40})?")
_CODE_WITH_THEM = re.compile(r"\b(?:import|from) builtins\b")
_PATCHING = frozenset({"unittest.mock", "mock"})


def find_hazard(tree: ast.Module) -> str | None:
    """Why `tree` must not be instrumented, or `None`.

    The file that a program finds as its own holds no marks, but its code objects do. A program that openly inspects them
    is a hazard. A program that hides the inspection gains no more than honest progress pays: each mark has a key of its
    own, and only milestones that the instrumenter inserted count.
    """
    streams = StreamHazards(tree)
    changes_modules = False
    for node in walk(tree):
        if hazard := _of_names(node) or streams.find(node):
            return hazard
        changes_modules = changes_modules or _changes_modules(node)
        match node:
            case ast.Call(func=ast.Name(id="exec"), args=[code, *_]) if hazard := _of_executed(code):
                return hazard
    if binds(tree, {"__import__"}, stars=False):
        return "the program replaces `__import__`"
    if changes_modules and needs_robust_print(tree):
        return "the program can replace the modules that a mark needs"
    return None


def _of_names(node: ast.AST) -> str | None:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name) if name in _OWN_CODE | _WATCHING:
            return f"the program can read its own code (`{name}`)"
        case ast.Attribute(attr="monitoring", value=ast.Name(id="sys")):
            return "the program can watch its own statements (`sys.monitoring`)"
        case ast.Import(names=aliases) if watchers := _WATCHERS.intersection(alias.name for alias in aliases):
            return f"the program can watch its own statements (`{min(watchers)}`)"
        case ast.ImportFrom(module=str(name)) if name in _WATCHERS:
            return f"the program can watch its own statements (`{name}`)"
        case ast.ImportFrom(module=str(name)) | ast.alias(name=name) if name in _PATCHING:
            return f"the program can replace functions (`{name}`)"
        case (
            ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name) | ast.ImportFrom(module=str(name))
        ) if _BUILTINS.fullmatch(name):
            return f"the program can replace built-in functions (`{name}`)"
        case ast.Attribute(
            attr="__self__", value=ast.Name()
        ):  # as of `print` and `len`; `model.fit` belongs to the model
            return "the program can replace built-in functions (`__self__`)"
        case ast.Call(args=arguments, keywords=keywords):
            if any(_names_builtins(argument) for argument in (*arguments, *(keyword.value for keyword in keywords))):
                return "the program can replace built-in functions, which it gives to a function by name"
        case ast.Subscript(value=ast.Attribute(attr="modules"), slice=index) if _names_builtins(index):
            return "the program can replace built-in functions (`sys.modules`)"
    return None


def _names_builtins(node: ast.expr) -> bool:
    """Whether `node` is the name of the builtins or of one of them, as `import_module` and `patch` take it, or imports them."""
    if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
        return False
    return bool(_NAME_OF_ONE.fullmatch(node.value) or _CODE_WITH_THEM.search(node.value))


def _changes_modules(node: ast.AST) -> bool:
    """Whether `node` may change `sys.modules`, or gives it another name. To read it does no harm."""
    match node:
        case ast.Attribute(attr="reload") | ast.alias(name="modules" | "reload"):
            return True
        case ast.Attribute(attr="modules", ctx=ast.Store() | ast.Del()):
            return True
        case ast.Assign(value=value) | ast.NamedExpr(value=value):
            return _is_modules(value)
        case ast.Subscript(value=value, ctx=ast.Store() | ast.Del()):
            return _is_modules(value)
        case ast.Attribute(attr="clear" | "pop" | "popitem" | "update" | "setdefault", value=value):
            return _is_modules(value)
    return False


def _is_modules(node: ast.expr) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "modules" and isinstance(node.value, ast.Name)


def _of_executed(code: ast.expr) -> str | None:
    """Why a program that executes `code` must not be instrumented, or `None`."""
    if not (isinstance(code, ast.Constant) and isinstance(code.value, str)):
        return "the program executes text that it makes itself"
    try:
        return find_hazard(parse_quietly(code.value))
    except (SyntaxError, ValueError):
        return None  # the program fails there, with marks and without
