"""Proposals of a target: its kind, its metric, and in which order the columns of a table are tried."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from trl_mle.tasks.generate.columns import CleanTable, is_id_name
from trl_mle.tasks.generate.leaks import find_leaks

if TYPE_CHECKING:
    import pandas as pd

TargetKind = Literal["regression", "binary", "multi-class"]

MAX_CLASSES = 10
MIN_CLASS_ROWS = 24
"""Fewest rows of a class, so that each part has some."""
MIN_DISTINCT = 15
"""Fewest different values of a number that is predicted as a number."""
MOST_MISSING_TARGETS = 0.3
LARGE = 2000
"""Rows from which on accuracy is fine enough to tell programs apart. Below, probabilities are scored."""
SCREENED_ROWS = 400
SCREENED_COLUMNS = 6
"""Columns that are screened from each side of a table with many."""
LEAST_PREDICTABLE, EASY = 0.05, 0.9
"""Shares of a target that the small forest predicts: below the first, there is nothing to learn; beyond the second, little."""
_ORDINAL_NAME = re.compile(
    r"(?i)(.*[._ -])?(year|yr|date|month|day|time|week|quarter|period|wave|trial|visit|order)s?"
)


@dataclass(frozen=True)
class Proposal:
    """A column as a target."""

    column: str
    kind: TargetKind
    metric: str
    """Name of a metric of `trl_mle.grading.METRICS`."""


def propose(table: CleanTable) -> list[Proposal]:
    """Columns that can be targets, in the order in which they are tried.

    Columns are compared by how much of them a small forest predicts from the others, without those that give it away. Those
    of which it predicts nearly nothing make no task. Those that it predicts nearly completely come last. Ties are broken by
    position, from the last column on.
    """
    columns = [name for name in table.frame.columns if not is_id_name(name) and not _ORDINAL_NAME.fullmatch(name)]
    proposals = [each for name in columns if (each := _proposal(name, table.frame[name], table.kinds[name]))]
    if len(proposals) > 2 * SCREENED_COLUMNS:  # the outcome is usually among the first or the last columns
        proposals = proposals[:SCREENED_COLUMNS] + proposals[-SCREENED_COLUMNS:]
    shares = [_predictable(table, proposal) for proposal in proposals]
    order = sorted(
        (shares[at] > EASY, -round(shares[at], 1), -at)
        for at in range(len(proposals))
        if shares[at] > LEAST_PREDICTABLE
    )
    return [proposals[-at] for *_, at in order]


def labels_of(values: pd.Series) -> pd.Series:
    """Classes as they are written: whole numbers without a decimal point."""
    if values.dtype == object:
        return values
    present = values.dropna()
    return values.astype("int64") if len(present) == len(values) and (present == present.round()).all() else values


def _proposal(name: str, values: pd.Series, kind: str) -> Proposal | None:
    present = values.dropna()
    if kind in ("text", "date") or len(present) < (1 - MOST_MISSING_TARGETS) * len(values):
        return None
    counts = present.value_counts()
    whole = kind == "category" or bool((present == present.round()).all())
    if whole and 2 <= len(counts) <= MAX_CLASSES and counts.min() >= MIN_CLASS_ROWS:
        return Proposal(name, "binary" if len(counts) == 2 else "multi-class", _class_metric(counts))
    # One value in most rows, such as 0, leaves too little to predict.
    if kind == "number" and len(counts) >= MIN_DISTINCT and counts.max() < 0.5 * len(present):
        return Proposal(name, "regression", _number_metric(present))
    return None


def _class_metric(counts: pd.Series) -> str:
    balanced = counts.min() >= 0.5 * counts.sum() / len(counts)
    if len(counts) == 2 and not balanced:
        return "roc_auc"
    if counts.sum() < LARGE:
        return "log_loss"
    return "accuracy" if balanced else "f1_macro"


def _number_metric(present: pd.Series) -> str:
    """RMSE, except for numbers over several powers of ten (RMSLE) and those with heavy tails (MAE)."""
    low, middle, high = present.quantile([0.05, 0.5, 0.99])
    if present.min() >= 0 and middle > 0 and high > 20 * middle and high > 100 * max(low, 1e-300):
        return "rmsle"
    deviation = present.std()
    return "mae" if (present - present.mean()).abs().max() > 8 * deviation else "rmse"


def _predictable(table: CleanTable, proposal: Proposal) -> float:
    """Share of the target that a small forest predicts in new rows: R2, or accuracy above that of the largest class."""
    import numpy as np
    import pandas as pd
    from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

    rows = table.frame.dropna(subset=[proposal.column])
    rows = rows.sample(min(len(rows), SCREENED_ROWS), random_state=0)
    y = rows[proposal.column]
    leaks = find_leaks(rows.drop(columns=proposal.column), y, proposal.kind == "regression")
    features = rows.drop(columns=[proposal.column, *leaks])
    if not features.shape[1]:
        return 0.0
    x = pd.DataFrame(
        {
            name: features[name].fillna(-1e9) if features[name].dtype != object else pd.factorize(features[name])[0]
            for name in features.columns
        }
    ).to_numpy(dtype=np.float32)
    x = np.nan_to_num(x, posinf=3e38, neginf=-3e38)
    settings = {"min_samples_leaf": 3, "random_state": 0}
    learn, check = np.arange(len(y)) % 2 == 0, np.arange(len(y)) % 2 == 1
    if proposal.kind == "regression":
        # Ranks: a few large values would decide R2.
        ranks = y.rank().to_numpy()
        return float(ExtraTreesRegressor(12, **settings).fit(x[learn], ranks[learn]).score(x[check], ranks[check]))
    classes = y.astype(str).to_numpy()
    prior = np.unique(classes[check], return_counts=True)[1].max() / check.sum()
    accuracy = ExtraTreesClassifier(12, **settings).fit(x[learn], classes[learn]).score(x[check], classes[check])
    return float((accuracy - prior) / (1 - prior)) if prior < 1 else 0.0
