"""Disguise of a table that programs could import from a package: other names, scales and order, and a little noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trl_mle.tasks.generate.columns import CleanTable

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

NOISE = 0.05
"""Standard deviation of the noise, as a share of a column's standard deviation."""
DIGITS = 4


def disguise(table: CleanTable, target: str, numeric: bool, seed: int) -> CleanTable:
    """Rename, reorder, rescale and blur the features, and rescale a numeric target.

    The rows of the original cannot be found by comparing values, and the order of rows is lost anyway.
    """
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(seed)
    names = [name for name in table.frame.columns if name != target]
    columns: dict[str, pd.Series] = {}
    kinds = {}
    for at, old in enumerate(rng.permutation(names)):
        new = f"f{at}" if f"f{at}" != target else f"f{at}_"
        values = table.frame[old]
        columns[new] = _blur(values, rng) if table.kinds[old] == "number" else values
        kinds[new] = table.kinds[old]
    answers = table.frame[target]
    columns[target] = _significant(answers * rng.uniform(0.5, 2.0)) if numeric else answers
    return CleanTable(pd.DataFrame(columns), kinds | {target: table.kinds[target]}, table.dropped)


def _blur(values: pd.Series, rng: np.random.Generator) -> pd.Series:
    noise = rng.normal(0.0, NOISE * (values.std() or 1.0), len(values))
    return _significant((values + noise) * rng.uniform(0.5, 20.0))


def _significant(values: pd.Series) -> pd.Series:
    return values.map(lambda value: float(f"{value:.{DIGITS}g}"))
