"""`Request`: what the user has said about a task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trl_mle.errors import TaskError
from trl_mle.grading import get_metric
from trl_mle.tasks.column_names import clean_name
from trl_mle.tasks.create.rare_classes import RARE_ROWS, check_rare
from trl_mle.tasks.create.row_splits import RowSplit


@dataclass(frozen=True)
class Request:
    """What the user has said about the task. `None`, or an empty tuple, is to be found in the table."""

    targets: tuple[str, ...] = ()
    metric: str | None = None
    drop: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    """Columns that stay features although they look like row ids or give the target away."""
    id_column: str | None = None
    split: RowSplit | None = None
    rare: str | None = None
    rare_rows: int = RARE_ROWS
    drop_missing_targets: bool | None = None
    keep_missing_words: bool = False
    decimal: str | None = None

    @classmethod
    def of(
        cls,
        target: str | Sequence[str] | None = None,
        metric: str | None = None,
        drop: str | Sequence[str] = (),
        keep: str | Sequence[str] = (),
        id_column: str | None = None,
        split: str | None = None,
        rare: str | None = None,
        rare_rows: int = RARE_ROWS,
        **others: Any,
    ) -> Request:
        """From the arguments of `create_task`: names are cleaned, a single name is a tuple.

        Raises:
            TaskError: an argument cannot work.
        """
        if metric is not None:
            get_metric(metric)
        check_rare("keep" if rare is None else rare, rare_rows)
        targets = _names(target)
        if len(set(targets)) < len(targets):
            raise TaskError(f"target is {list(targets)!r} (`--target`); write each column once.")
        if both := sorted({*_names(drop)} & {*_names(keep)}):
            raise TaskError(
                f"column {both[0]!r} is to be left out (`--drop`) and kept (`--keep`); write one of the two."
            )
        if id_column is not None and not clean_name(id_column):
            raise TaskError(f"id_column is {id_column!r} (`--id`); write the name of a column.")
        return cls(
            targets,
            metric,
            _names(drop),
            _names(keep),
            None if id_column is None else clean_name(id_column),
            None if split is None else RowSplit.parse(split),
            rare,
            rare_rows,
            **others,
        )

    @property
    def is_explicit(self) -> bool:
        """Whether target and metric are named. Then nothing is asked, and doubts are notes."""
        return bool(self.targets) and self.metric is not None


def _names(names: str | Sequence[str] | None) -> tuple[str, ...]:
    return tuple(map(clean_name, (names,) if isinstance(names, str) else names or ()))
