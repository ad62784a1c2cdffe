"""The public and the private part of a competition's answers: seeded and stratified, each half of the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trl_mle.tasks.splits import stratified_mask

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

SEED = 0
PUBLIC_SHARE = 0.5
MOST_CLASSES = 50
"""Most different values of a target that are classes. A target with more is a number, or is not stratified by."""


def public_rows(answers: pd.DataFrame, id_column: str, targets: list[str]) -> np.ndarray:
    """(N,) booleans: rows of the public part. Rows with the same id are in the same part.

    Args:
        answers (`DataFrame`):
            (N, ...) the answers.
        id_column (`str`):
            Column with the ids.
        targets (`list[str]`):
            Columns that the parts are stratified by: classes, one-hot columns, or a number.

    Raises:
        TaskError: there are not enough ids for two parts.
    """
    first = ~answers[id_column].duplicated()
    once = answers[first].reset_index(drop=True)
    strata, numeric = _strata(once, targets)
    chosen = once[id_column][stratified_mask(strata, PUBLIC_SHARE, SEED, numeric)]
    return answers[id_column].isin(chosen).to_numpy()


def _strata(table: pd.DataFrame, targets: list[str]) -> tuple[pd.Series, bool]:
    """What to stratify by, and whether it is a number."""
    import pandas as pd

    columns = table[targets]
    if len(targets) > 1 and columns.isin([0, 1]).all().all():
        return columns.astype(int).astype(str).agg("".join, axis=1), False
    if targets:
        target = columns[targets[0]]
        if len(targets) == 1 and target.nunique(dropna=False) <= MOST_CLASSES:
            return target.astype(str), False
        if pd.api.types.is_numeric_dtype(target) and target.notna().all():
            return target, True
    return pd.Series("", index=table.index), False
