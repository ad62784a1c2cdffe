"""The page of the columns of `rollouts/*.parquet`, from `trl_mle.outcomes`."""

from __future__ import annotations

import ast
import inspect
from typing import NamedTuple

from generators.markdown import table


class ColumnText(NamedTuple):
    """What the page says of a column."""

    name: str
    type: str
    unit: str
    description: str


def columns() -> list[ColumnText]:
    """The columns of an outcome, then those of a run."""
    from trl_mle.outcomes import Column, RunColumn, metric_column
    from trl_mle.types import PROGRAM_METRICS

    texts = _docstrings(Column)
    of_outcome = [ColumnText(str(c), c.kind.__name__, c.unit, texts.get(c.name, "")) for c in Column]
    metric = "The number that the program printed last for this name; it is worth no reward."
    of_outcome += [ColumnText(metric_column(name), "float", "", metric) for name in PROGRAM_METRICS]
    texts = _docstrings(RunColumn)
    return of_outcome + [ColumnText(str(c), "", "", texts.get(c.name, "")) for c in RunColumn]


def page() -> str:
    """Markdown of the page."""
    rows = ([f"`{c.name}`", c.type, c.unit, c.description] for c in columns())
    return (
        "# Rollout columns\n\n`read_rollouts(output_dir)` of `trl_mle.outcomes` reads `rollouts/*.parquet` of a run as one table. "
        "Every value may be missing. TRL adds `prompt`, `completion`, `advantage` and one column per reward function. The trainer "
        "adds `duration_weight`.\n\n"
        f"{table(['column', 'type', 'unit', 'meaning'], rows)}\n"
    )


def _docstrings(enum: type) -> dict[str, str]:
    """Member -> the text below it in the source."""
    (definition,) = ast.parse(inspect.getsource(enum)).body
    found = {}
    for statement, following in zip(definition.body, definition.body[1:], strict=False):
        if (
            isinstance(statement, ast.Assign)
            and isinstance(following, ast.Expr)
            and isinstance(following.value, ast.Constant)
        ):
            found[statement.targets[0].id] = " ".join(str(following.value.value).split())
    return found
