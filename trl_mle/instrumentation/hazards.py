"""Programs that run as they are: instrumentation would change what they do, or they could read their own marks."""

from __future__ import annotations

import ast

_OWN_SOURCE = frozenset(
    {
        *("getsource", "getsourcelines", "getsourcefile", "getframeinfo", "currentframe", "_getframe", "linecache"),
        *("co_consts", "co_code", "f_code", "gi_code", "__code__", "__loader__", "get_source"),
        *("settrace", "setprofile"),
    }
)
_FOLDER_OF = frozenset({"dirname", "parent", "parents"})


def find_hazard(tree: ast.Module) -> str | None:
    """Why `tree` must not be instrumented, or `None`.

    A program that reads its own source or code objects could print the marks it finds there; such programs are named
    here where they do it openly. (One that hides it can at most collect the partial credit of milestones whose
    statements it holds: the reward counts only marks that were inserted.)
    """
    folder_uses: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, (ast.Name, ast.Attribute)):
            name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            if name in _FOLDER_OF:
                folder_uses.update(id(inner) for inner in ast.walk(node))
        elif isinstance(node, ast.Attribute) and node.attr in _FOLDER_OF:
            folder_uses.update(id(inner) for inner in ast.walk(node))
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name) if name in _OWN_SOURCE:
                return f"the program can read its own code (`{name}`)"
            case ast.Name(id="__file__") if id(node) not in folder_uses:
                return "the program can read its own source (`__file__`)"
            case ast.Subscript(value=ast.Attribute(attr="argv"), slice=ast.Constant(value=0)):
                return "the program can read its own source (`sys.argv[0]`)"
            case ast.Attribute(attr="close" | "detach", value=ast.Attribute(attr="stdout" | "__stdout__")):
                return "the program closes standard output"
    return None
