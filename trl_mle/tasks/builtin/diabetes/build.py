"""scikit-learn's diabetes study, with shuffled and rescaled columns and a little noise.

This task is the negative control: it has 300 train rows and is nearly linear, so that a ridge regression beats slower models
and a policy gains nothing by spending time. Programs may import scikit-learn and with it the clean data, as in `digits`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

TRAIN_ROWS, TEST_ROWS, SEED = 300, 142, 5
NOISE = 0.1
"""Standard deviation of the noise, as a multiple of the standard deviation of a column."""


def build() -> pd.DataFrame:
    """442 rows: `f0` ... `f9` (mean 0, different scales) and `progression`."""
    import numpy as np
    import pandas as pd
    from sklearn.datasets import load_diabetes

    features, progression = load_diabetes(return_X_y=True)
    rng = np.random.default_rng(SEED)
    features = features[:, rng.permutation(features.shape[1])] / features.std(axis=0).mean()
    features = features + rng.normal(0.0, NOISE, features.shape)
    features = (features * rng.uniform(0.5, 20.0, features.shape[1])).round(3)
    table = pd.DataFrame(features, columns=[f"f{i}" for i in range(features.shape[1])])
    return table.assign(progression=progression.astype(int))
