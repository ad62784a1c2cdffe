"""`assemble`: from one labelled table to the four tables of a task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trl_mle.errors import TaskError
from trl_mle.grading import SPLIT_COLUMN, Metric, get_metric
from trl_mle.tasks.splits import stratified_mask

if TYPE_CHECKING:
    import pandas as pd

ID_COLUMN = "id"


@dataclass(frozen=True)
class TaskTables:
    """The tables of `public/` and `private/`."""

    train: pd.DataFrame
    """Columns: id, features, target."""
    test: pd.DataFrame
    """Columns: id, features."""
    sample: pd.DataFrame
    """Columns: id, predictions. A valid submission that is the same for every test row."""
    answers: pd.DataFrame
    """Columns: id, target, split."""


def assemble(
    table: pd.DataFrame,
    target: str,
    metric_name: str,
    train_rows: int,
    test_rows: int,
    seed: int,
    public_share: float = 0.5,
) -> TaskTables:
    """Shuffle `table`, give its rows new ids, split off the test rows, and split their answers into public and private.

    Both splits follow from `seed` and are stratified by class or, for a number, by quantile bins.

    Args:
        table (`DataFrame`):
            Features and `target`. Its index is dropped.
        train_rows, test_rows (`int`):
            Number of rows of each kind. Further rows are dropped at random.
        public_share (`float`, *optional*, defaults to `0.5`):
            Share of the test rows in the public part of the answers.

    Raises:
        TaskError: there are too few rows, or a column has a reserved name.
    """
    import numpy as np
    import pandas as pd

    metric = get_metric(metric_name)
    numeric = metric.predicts == "number"
    if train_rows + test_rows > len(table):
        raise TaskError(f"{train_rows} train and {test_rows} test rows were asked for, but there are {len(table)}.")
    if ID_COLUMN in table.columns:
        raise TaskError(f"the column {ID_COLUMN!r} is taken by new row ids; drop or rename it.")
    if target == SPLIT_COLUMN:
        raise TaskError(f"the target column cannot be called {SPLIT_COLUMN!r}; rename it.")
    rng = np.random.default_rng(seed)
    selected = table.iloc[rng.permutation(len(table))[: train_rows + test_rows]].reset_index(drop=True)
    is_test = stratified_mask(_strata(selected[target], metric), test_rows / len(selected), seed, numeric)
    # Train rows get the first ids and test rows the following ones, each in shuffled order.
    selected = selected.iloc[np.argsort(is_test, kind="stable")].reset_index(drop=True)
    selected = pd.concat([pd.Series(range(len(selected)), name=ID_COLUMN), selected], axis=1)
    train, test = selected.iloc[:train_rows], selected.iloc[train_rows:]
    is_public = stratified_mask(_strata(test[target], metric), public_share, seed + 1, numeric)
    answers = test[[ID_COLUMN, target]].assign(**{SPLIT_COLUMN: np.where(is_public, "public", "private")})
    features = [column for column in selected.columns if column != target]
    train = train[[*features, target]]
    return TaskTables(train, test[features], _sample(test[[ID_COLUMN]], train[target], metric.predicts), answers)


def _strata(target: pd.Series, metric: Metric) -> pd.Series:
    """What the split is stratified by. Texts are no classes: each may occur once."""
    return target if metric.predicts != "text" else target.map(lambda text: "")


def _sample(ids: pd.DataFrame, target: pd.Series, kind: str) -> pd.DataFrame:
    import pandas as pd

    if kind == "number":
        return ids.assign(**{str(target.name): _mean(target)})
    if kind in ("label", "text"):
        return ids.assign(**{str(target.name): target.mode().iloc[0]})
    classes = class_names(target)
    if classes == ["0", "1"]:
        return ids.assign(**{str(target.name): 0.5})
    if ID_COLUMN in classes:
        raise TaskError(f"a class is called {ID_COLUMN!r}, as the id column; rename the class.")
    # At once: `assign` adds column by column, which is slow for hundreds of classes.
    return pd.concat([ids, pd.DataFrame(round(1 / len(classes), 6), index=ids.index, columns=classes)], axis=1)


def _mean(target: pd.Series) -> float:
    """The mean in all its digits, because a number of decimals would be 0 for a small target. No sum overflows on the way."""
    import numpy as np

    values = target.to_numpy(dtype=np.float64)
    scale = float(np.abs(values).max()) or 1.0
    mean = float((values / scale).mean() * scale)
    return min(max(mean, float(values.min())), float(values.max()))


def class_names(target: pd.Series) -> list[str]:
    """The classes in the order of the prediction columns: numbers by value, other labels alphabetically."""
    return [str(value) for value in sorted(target.unique())]
