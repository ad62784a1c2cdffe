"""Hazards: programs that are not instrumented, because it would change what they do or they could read their own marks."""

from __future__ import annotations

import ast

from trl_mle.instrumentation.analysis.budget import walk

_OWN_CODE = frozenset({"_getframe", "currentframe", "co_consts", "co_code", "f_code", "gi_code", "__code__"})
_WATCHING = frozenset({"settrace", "setprofile", "addaudithook"})


def find_hazard(tree: ast.Module) -> str | None:
    """Why `tree` must not be instrumented, or `None`.

    The file that a program finds as its own holds no marks, but its code objects do. A program that openly inspects them
    is a hazard. A program that hides the inspection gains no more than honest progress pays: each mark has a key of its
    own, and only milestones that the instrumenter inserted count.
    """
    for node in walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name) if name in _OWN_CODE | _WATCHING:
                return f"the program can read its own code (`{name}`)"
            case ast.Attribute(attr="close" | "detach", value=ast.Attribute(attr="stdout" | "__stdout__")):
                return "the program closes standard output"
    return None
