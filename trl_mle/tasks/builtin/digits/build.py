"""scikit-learn's 8x8 digits, with shuffled columns and a little noise.

Programs may import scikit-learn and with it the clean data, which holds no column and no row of this task unchanged. The
noise only prevents a look-up of answers by equality: a program that matches columns by distribution and rows by distance
finds every label. A sandbox that shall rule this out must hide scikit-learn's data files (`sklearn/datasets/data`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

TRAIN_ROWS, TEST_ROWS, SEED = 1000, 797, 21
NOISE = 1.0
"""Standard deviation of the noise, in units of a pixel (0..16)."""


def build() -> pd.DataFrame:
    """1,797 rows: `pixel_0` ... `pixel_63` (0..16) and `digit`."""
    import numpy as np
    import pandas as pd
    from sklearn.datasets import load_digits

    pixels, digit = load_digits(return_X_y=True)
    rng = np.random.default_rng(SEED)
    pixels = pixels[:, rng.permutation(pixels.shape[1])]
    pixels = np.clip(pixels + rng.normal(0.0, NOISE, pixels.shape), 0, 16).round(1)
    table = pd.DataFrame(pixels, columns=[f"pixel_{i}" for i in range(pixels.shape[1])])
    return table.assign(digit=digit)
