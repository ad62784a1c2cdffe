"""Plain marks: the prints that a language model writes. It never sees the nonce."""

from __future__ import annotations

import ast
from typing import NamedTuple

MILESTONE = "MILESTONE: "
METRIC = "METRIC: "


class PlainMark(NamedTuple):
    """One print statement of a model."""

    name: str
    """What it claims; any text."""
    variable: str | None = None
    """Variable of a metric; `None` for a milestone, or where the value is no plain variable."""
    is_metric: bool = False


def as_plain_mark(node: object) -> PlainMark | None:
    """The mark that the statement `node` prints, or `None` for any other statement.

    The value of a metric may be made of variables, attributes, items and constants; a call, or anything else that may
    have an effect, makes it another statement.
    """
    match node:
        case ast.Expr(
            value=ast.Call(func=ast.Name(id="print"), args=[ast.Constant(value=str(text)), *values], keywords=[])
        ):
            if text.startswith(MILESTONE) and not values:
                return PlainMark(text.removeprefix(MILESTONE).strip())
            if text.startswith(METRIC) and len(values) == 1 and _is_reading(values[0]):
                variable = values[0].id if isinstance(values[0], ast.Name) else None
                return PlainMark(text.removeprefix(METRIC).strip().rstrip(":"), variable, is_metric=True)
    return None


def _is_reading(value: ast.expr) -> bool:
    allowed = (ast.Name, ast.Attribute, ast.Subscript, ast.Constant, ast.UnaryOp, ast.USub, ast.Load)
    return all(isinstance(node, allowed) for node in ast.walk(value))
