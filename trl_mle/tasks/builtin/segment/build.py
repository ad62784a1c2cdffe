"""Statlog's image segments from river: 3x3 pixel regions of outdoor pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trl_mle.tasks.builtin.packaged_data import river_segments

if TYPE_CHECKING:
    import pandas as pd

TRAIN_ROWS, TEST_ROWS, SEED = 1200, 1110, 7


def build() -> pd.DataFrame:
    """2,310 rows: 18 numeric columns and `category` with 7 classes of 330 rows each."""
    table = river_segments()
    # The source misspells one name. With '-' in a name, programs could not write `frame.column`.
    table.columns = [column.replace("vegde", "vedge").replace("-", "_") for column in table.columns]
    return table.round(6)
