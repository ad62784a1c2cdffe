"""The statements that instrumentation may insert: a mark, in two spellings, and the report of a named metric.

The usual mark is `print("<mark>\\n", end="", flush=True)`: a print statement as in the paper. It is one write, and it is
flushed so that a program that is killed later keeps its marks. A program that binds `print` or replaces `sys.stdout`
gets the robust spelling, which depends on neither name. The robust spelling is not used everywhere, because in a
notebook kernel `sys.__stdout__` may not be what is recorded.

A metric is printed from a plain variable by an expression that neither raises nor runs code of the program, whatever
the variable holds. `type(v)` and `issubclass` of a real type call no method of the object. `float.__repr__` reads the
number of a float or of a subclass (`numpy.float64`). A value that is no number, or a giant integer, is printed as `none`.
`analysis.bound_variables` says where such a statement may stand.
"""

from __future__ import annotations

import ast

from trl_mle.instrumentation.marks import MARK_PREFIX, METRIC_SUFFIX, mark, metric_prefix
from trl_mle.parsing import parse_quietly
from trl_mle.types import MILESTONES, PROGRAM_METRICS


def mark_source(nonce: str, milestone: str, robust: bool) -> str:
    """Source text of the statement that prints one mark: one physical line of ASCII."""
    text = f'"{mark(nonce, milestone)}\\n"'
    if robust:
        return f'__import__("builtins").print({text}, end="", file=__import__("sys").__stdout__, flush=True)'
    return f'print({text}, end="", flush=True)'


def mark_statement(nonce: str, milestone: str, robust: bool) -> ast.stmt:
    """Syntax tree of `mark_source`."""
    return parse_quietly(mark_source(nonce, milestone, robust)).body[0]


def mark_dumps(nonce: str) -> dict[str, tuple[str, bool]]:
    """`ast.dump` of every allowed statement -> (milestone, whether it is the robust spelling)."""
    return {
        ast.dump(mark_statement(nonce, milestone, robust)): (milestone, robust)
        for milestone in MILESTONES
        for robust in (False, True)
    }


def metric_source(nonce: str, metric: str, variable: str) -> str:
    """Source text of the statement that reports the number in `variable`: one physical line of ASCII."""
    number = (
        f"float.__repr__({variable}) if issubclass(type({variable}), float) else "
        f"int.__repr__({variable}) if issubclass(type({variable}), int) and int.bit_length({variable}) < 64 else "
        '"none"'
    )
    return f'print("{metric_prefix(nonce, metric)}" + ({number}) + "{METRIC_SUFFIX}\\n", end="", flush=True)'


def metric_statement(nonce: str, metric: str, variable: str) -> ast.stmt:
    """Syntax tree of `metric_source`."""
    return parse_quietly(metric_source(nonce, metric, variable)).body[0]


def as_metric(node: object, nonce: str) -> tuple[str, str] | None:
    """(Metric, variable) if `node` is exactly the report of a metric with this nonce, otherwise `None`."""
    match node:
        case ast.Expr(
            value=ast.Call(
                args=[
                    ast.BinOp(
                        left=ast.BinOp(
                            left=ast.Constant(value=str(text)),
                            right=ast.IfExp(body=ast.Call(args=[ast.Name(id=variable)])),
                        )
                    )
                ]
            )
        ) if text.startswith(MARK_PREFIX) and variable.isascii():
            for metric in PROGRAM_METRICS:
                if text == metric_prefix(nonce, metric):
                    try:
                        same = ast.dump(node) == ast.dump(metric_statement(nonce, metric, variable))
                    except (ValueError, RecursionError):  # no report holds such constants or nesting
                        return None
                    return (metric, variable) if same else None
    return None
