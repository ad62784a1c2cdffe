"""The one statement that instrumentation may insert, in two spellings.

`print("<mark>\\n", end="", flush=True)` is the usual one: a print statement as in the paper, one write, flushed so
that a program that is killed later keeps its marks. A program that binds `print` itself or replaces `sys.stdout` gets
the robust spelling, which depends on neither name. (In a notebook kernel `sys.__stdout__` may not be what is
recorded, so the robust spelling is not used for all.)
"""

from __future__ import annotations

import ast

from trl_mle.instrumentation.milestones import mark
from trl_mle.types import MILESTONES

_REPLACES_STDOUT = frozenset({"redirect_stdout"})


def mark_source(nonce: str, milestone: str, robust: bool) -> str:
    """Source text of the statement that prints one mark; one physical line of ASCII."""
    text = f'"{mark(nonce, milestone)}\\n"'
    if robust:
        return f'__import__("builtins").print({text}, end="", file=__import__("sys").__stdout__, flush=True)'
    return f'print({text}, end="", flush=True)'


def mark_statement(nonce: str, milestone: str, robust: bool) -> ast.stmt:
    """The same as a syntax tree."""
    return ast.parse(mark_source(nonce, milestone, robust)).body[0]


def mark_dumps(nonce: str) -> dict[str, tuple[str, bool]]:
    """`ast.dump` of every allowed statement -> (milestone, whether it is the robust spelling)."""
    return {
        ast.dump(mark_statement(nonce, milestone, robust)): (milestone, robust)
        for milestone in MILESTONES
        for robust in (False, True)
    }


def needs_robust_print(tree: ast.AST) -> bool:
    """Whether the program could make the plain `print(...)` mean something else."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id="print", ctx=ast.Store() | ast.Del()) | ast.arg(arg="print"):
                return True
            case ast.FunctionDef(name="print") | ast.AsyncFunctionDef(name="print") | ast.ClassDef(name="print"):
                return True
            case ast.ExceptHandler(name="print") | ast.MatchAs(name="print") | ast.MatchStar(name="print"):
                return True
            case ast.MatchMapping(rest="print") | ast.Attribute(attr="print", ctx=ast.Store() | ast.Del()):
                return True
            case ast.alias():
                if (node.asname or node.name).split(".")[0] in {"print", "*", *_REPLACES_STDOUT}:
                    return True
            case ast.Attribute(attr="stdout", ctx=ast.Store() | ast.Del()):
                return True
            case ast.Name(id=name) | ast.Attribute(attr=name) if name in _REPLACES_STDOUT:
                return True
            case ast.Call(func=ast.Name(id="setattr"), args=[_, ast.Constant(value="stdout" | "print"), *_]):
                return True
    return False
