"""The public and the private part of the answers, half of the rows each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trl_mle.tasks.dare_bench.keys import times_of
from trl_mle.tasks.splits import stratified_mask

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

BLOCKS = 20
"""Blocks of time of a time series: ten for each part."""


def public_rows(targets: pd.DataFrame, numeric: bool, seed: int) -> np.ndarray:
    """Choose half of N rows, stratified by the classes, or by the quantiles of the first target.

    Args:
        targets (`DataFrame`):
            (N, targets) values as text.
        numeric (`bool`):
            Whether the targets are numbers.
        seed (`int`):
            Seed of the choice.

    Returns:
        `ndarray`: (N,) booleans.
    """
    import pandas as pd

    if numeric:
        return stratified_mask(pd.to_numeric(targets.iloc[:, 0]), 0.5, seed, True)
    labels = targets.agg("\0".join, axis=1) if targets.shape[1] > 1 else targets.iloc[:, 0]
    return stratified_mask(labels, 0.5, seed, False)


def public_blocks(times: pd.Series, time_format: str | None, seed: int) -> np.ndarray | None:
    """Choose about half of N rows of a time series in blocks of time.

    The horizon is cut into blocks with equally many rows, and of each two neighbours one is public. So both parts reach from
    the nearest to the farthest time, as a forecast must. Rows chosen one by one would make the private part nearly a copy of
    the public one, since neighbours in time are alike. A cut in the middle would reward near forecasts and report far ones.
    A moment is in one part with all series, because series move together.

    Args:
        times (`Series`):
            (N,) times as text.
        time_format (`str`, *optional*):
            Format of the times, in the language of `strptime`.
        seed (`int`):
            Seed of the choice.

    Returns:
        `ndarray`, *optional*: (N,) booleans; `None` if there are fewer than two moments, or if the times cannot be read.
    """
    import numpy as np

    moments = times_of(times.str.strip(), time_format)
    if moments.isna().any() or moments.nunique() < 2:
        return None
    codes = np.unique(moments.to_numpy(), return_inverse=True)[1]
    counts = np.bincount(codes)
    blocks = min(BLOCKS, len(counts) // 2 * 2)
    # The middle of each moment's rows decides, so that a moment with many rows is one block and not two empty ones.
    middle = counts.cumsum() - counts / 2
    block = np.minimum((middle * blocks / len(codes)).astype(int), blocks - 1)
    coins = np.random.default_rng(seed).integers(0, 2, size=(blocks + 1) // 2)
    public = (block % 2) == coins[block // 2]
    chosen = public[codes]
    return chosen if chosen.any() and not chosen.all() else None
