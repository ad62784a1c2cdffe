"""Seeded, stratified splits of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trl_mle.errors import TaskError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

STRATA = 10
"""Number of quantile bins by which a numeric target is stratified."""


def stratified_mask(target: pd.Series, share: float, seed: int, numeric: bool) -> np.ndarray:
    """Choose `round(share * N)` of N rows so that each class, or each quantile bin of a number, has that share.

    Args:
        target (`Series`):
            (N,) labels or numbers.
        share (`float`):
            Share of the rows to choose, between 0 and 1.
        seed (`int`):
            Seed of the choice: the same seed chooses the same rows.
        numeric (`bool`):
            Whether `target` holds numbers, which are put into quantile bins first.

    Returns:
        `ndarray`: (N,) booleans, true for the chosen rows.

    Raises:
        TaskError: a part would be empty.
    """
    import numpy as np

    rows = len(target)
    chosen = round(share * rows)
    if not 0 < chosen < rows:
        raise TaskError(f"{rows} rows cannot be split with a share of {share}: one part would be empty.")
    rng = np.random.default_rng(seed)
    values = target.to_numpy()
    if numeric:
        # Ranks instead of values: ties cannot make a bin too large.
        ranks = np.argsort(np.argsort(values, kind="stable"), kind="stable")
        strata = ranks * min(STRATA, rows) // rows
    else:
        strata = np.unique(values.astype(str), return_inverse=True)[1]
    sizes = np.bincount(strata)
    # Largest remainder method: each stratum gets its share rounded down or up, and the sum is exactly `chosen`.
    quota = np.floor(share * sizes).astype(int)
    remainder = share * sizes - quota
    order = np.lexsort((rng.random(len(sizes)), -remainder))
    quota[order[: chosen - quota.sum()]] += 1
    mask = np.zeros(rows, dtype=bool)
    for stratum, size in enumerate(quota):
        mask[rng.permutation(np.flatnonzero(strata == stratum))[:size]] = True
    return mask
