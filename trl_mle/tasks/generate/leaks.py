"""Leakage: columns that give the target away. Each rule returns a reason in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

ALMOST = 0.995
"""Share of rows for which a column must decide the class."""
EXACT = 1e-3
"""Largest residual of a formula that gives the target up to rounding, as a share of the target's standard deviation."""
MONOTONE = 0.9995
"""Rank correlation beyond which a column is the target on another scale."""
_MAX_TERMS = 5
"""Most columns that are dropped because together they make an exact formula."""


def find_leaks(features: pd.DataFrame, target: pd.Series, numeric: bool) -> dict[str, str]:
    """Columns of `features` (N rows) that determine `target` (N values), with the reason.

    A column leaks if the target is an affine or monotone function of it, if each of its values goes with one target, if the
    classes are intervals of it, or if its missing values decide the class. Columns that give the target together, as the
    parts of a sum or of a product do, leak until the formula is broken.
    """
    leaks: dict[str, str] = {}
    for name in features.columns:
        if reason := _leak(features[name], target, numeric):
            leaks[name] = reason
    if numeric:
        rest = features.drop(columns=list(leaks)).select_dtypes("number")
        leaks |= _formula(rest, target)
    return leaks


def _leak(column: pd.Series, target: pd.Series, numeric: bool) -> str | None:
    from pandas.api.types import is_numeric_dtype

    if numeric and is_numeric_dtype(column):
        if _affine(column, target):
            return "an affine function of the target"
        if _monotone(column, target):
            return "a monotone function of the target"
    if _determines(column, target, numeric):
        return "each of its values goes with one target"
    if not numeric:
        if is_numeric_dtype(column) and _intervals(column, target):
            return "the classes are intervals of it"
        if column.isna().any() and _determines(column.isna().astype(int), target, numeric):
            return "its missing values decide the class"
    return None


def _present(column: pd.Series, target: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    import numpy as np

    mask = column.notna().to_numpy()
    return column.to_numpy(dtype=np.float64)[mask], target.to_numpy(dtype=np.float64)[mask]


def _affine(column: pd.Series, target: pd.Series) -> bool:
    import numpy as np

    x, y = _present(column, target)
    if len(x) < 0.5 * len(target) or np.ptp(x) == 0 or np.ptp(y) == 0:
        return False
    # Scaled first, so that squares of large numbers do not overflow.
    x, y = (x - x.mean()) / np.abs(x - x.mean()).max(), (y - y.mean()) / np.abs(y - y.mean()).max()
    slope = float((x * y).sum() / (x * x).sum())
    return bool(np.sqrt(((y - slope * x) ** 2).mean()) < 1e-4 * y.std())


def _monotone(column: pd.Series, target: pd.Series) -> bool:
    import numpy as np
    from scipy.stats import rankdata

    x, y = _present(column, target)
    # Few distinct values have many ties, whose ranks correlate for other reasons.
    if len(x) < 0.5 * len(target) or len(np.unique(x)) < 20 or len(np.unique(y)) < 20:
        return False
    return bool(abs(np.corrcoef(rankdata(x), rankdata(y))[0, 1]) > MONOTONE)


def _determines(column: pd.Series, target: pd.Series, numeric: bool) -> bool:
    """Whether rows with equal values of `column` have equal targets. Only values that occur more than once can show it."""
    import numpy as np
    import pandas as pd

    groups = pd.factorize(column, use_na_sentinel=False)[0]
    repeated = np.bincount(groups)[groups] > 1
    if repeated.mean() < 0.5 or groups.max() < 1:
        return False
    values = target[repeated]
    groups = np.unique(groups[repeated], return_inverse=True)[1]
    if numeric:
        y = values.to_numpy(dtype=np.float64)
        y = (y - y.mean()) / (np.abs(y - y.mean()).max() or 1.0)
        counts = np.bincount(groups)
        means = np.bincount(groups, y) / counts
        return bool(y.var() > 0 and ((y - means[groups]) ** 2).mean() < (1 - ALMOST) ** 2 * y.var())
    labels = pd.factorize(values)[0]
    table = np.zeros((groups.max() + 1, labels.max() + 1))
    np.add.at(table, (groups, labels), 1)
    most = table.max(axis=1).sum() / len(labels)
    prior = table.sum(axis=0).max() / len(labels)
    # With one dominant class, a useless column has a high share as well.
    return bool(1 - most <= (1 - ALMOST) * (1 - prior) + 1e-12)


def _intervals(column: pd.Series, target: pd.Series) -> bool:
    """Whether each class is one interval of `column`, except for a few rows."""
    import numpy as np
    from sklearn.tree import DecisionTreeClassifier

    mask = column.notna().to_numpy()
    if mask.mean() < 0.9:
        return False
    y = target.astype(str).to_numpy()[mask]
    classes, counts = np.unique(y, return_counts=True)
    # Ranks, which have the same intervals: trees cannot tell large numbers apart, and refuse those beyond 32 bits.
    x = np.unique(column.to_numpy(dtype=np.float64)[mask], return_inverse=True)[1].reshape(-1, 1)
    tree = DecisionTreeClassifier(max_leaf_nodes=max(2, len(classes)), random_state=0).fit(x, y)
    return bool(1 - tree.score(x, y) <= (1 - ALMOST) * (1 - counts.max() / len(y)) + 1e-12)


def _formula(numbers: pd.DataFrame, target: pd.Series) -> dict[str, str]:
    """Columns that must go until no sum and no product of the others gives the target exactly."""
    import numpy as np

    leaks: dict[str, str] = {}
    y = target.to_numpy(dtype=np.float64)
    complete = numbers.loc[:, numbers.notna().all()] if len(numbers.columns) else numbers
    for logarithms, words in ((False, "a weighted sum"), (True, "a product of powers")):
        x = complete.drop(columns=[name for name in leaks if name in complete.columns])
        if logarithms:
            if y.min() <= 0:
                continue
            x = x.loc[:, (x > 0).all()]
        terms = list(x.columns)
        values = x.to_numpy(dtype=np.float64)
        values, aim = (np.log(values), np.log(y)) if logarithms else (values, y)
        while len(terms) > 1 and len(leaks) < _MAX_TERMS and len(terms) < len(y) / 3:
            weight = _exact_weights(values, aim)
            if weight is None:
                break
            worst = int(np.argmax(np.abs(weight)))
            leaks[terms[worst]] = f"with other columns, {words} gives the target"
            values = np.delete(values, worst, axis=1)
            del terms[worst]
    return leaks


def _exact_weights(x: np.ndarray, y: np.ndarray) -> np.ndarray | None:
    """Weights of the standardised columns if a linear function of them is `y` exactly, otherwise `None`."""
    import numpy as np

    deviation = x.std(axis=0)
    if y.std() == 0 or not np.isfinite(deviation).all():
        return None
    x = (x - x.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)
    y = (y - y.mean()) / y.std()
    weight = np.linalg.lstsq(x, y, rcond=None)[0]
    return weight if np.sqrt(((y - x @ weight) ** 2).mean()) < EXACT else None
