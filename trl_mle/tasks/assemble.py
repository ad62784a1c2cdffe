"""`assemble`: from one labelled table to the four tables of a task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trl_mle.errors import TaskError
from trl_mle.grading import SPLIT_COLUMN, Metric, get_metric
from trl_mle.grading.metrics import PredictionKind
from trl_mle.tasks.splits import stratified_mask

if TYPE_CHECKING:
    import numpy as np
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
    is_test = stratified_mask(strata_of(selected[target], metric), test_rows / len(selected), seed, numeric)
    return divide(
        selected,
        [target],
        metric.predicts,
        is_test,
        lambda test: stratified_mask(strata_of(test[target], metric), public_share, seed + 1, numeric),
    )


def divide(
    rows: pd.DataFrame,
    targets: Sequence[str],
    predicts: PredictionKind,
    is_test: np.ndarray,
    public_of: Callable[[pd.DataFrame], np.ndarray],
    id_column: str = ID_COLUMN,
) -> TaskTables:
    """The tables of a task from N rows in their final order.

    Train rows get the first new ids and test rows the following ones.

    Args:
        rows (`DataFrame`):
            Features and targets.
        targets (`Sequence[str]`):
            Columns to predict.
        predicts (`str`):
            `Metric.predicts` of the metric.
        is_test (`ndarray`):
            (N,) booleans.
        public_of (`Callable`):
            From the test rows, with their targets, to booleans: the public part of the answers.
        id_column (`str`, *optional*, defaults to `"id"`):
            Name of the column of new ids.

    Raises:
        TaskError: a class has the name of the id column.
    """
    import numpy as np
    import pandas as pd

    train_rows = len(rows) - int(is_test.sum())
    rows = rows.iloc[np.argsort(is_test, kind="stable")].reset_index(drop=True)
    rows = pd.concat([pd.Series(range(len(rows)), name=id_column), rows], axis=1)
    train, test = rows.iloc[:train_rows], rows.iloc[train_rows:]
    split = np.where(public_of(test), "public", "private")
    answers = test[[id_column, *targets]].assign(**{SPLIT_COLUMN: split})
    features = [column for column in rows.columns if column not in targets]
    train = train[[*features, *targets]]
    sample = constant_submission(test[[id_column]], train[list(targets)], predicts)
    return TaskTables(train, test[features], sample, answers)


def constant_submission(ids: pd.DataFrame, targets: pd.DataFrame, predicts: PredictionKind) -> pd.DataFrame:
    """A valid submission that is the same for every row: means, most common labels or equal probabilities.

    Args:
        ids (`DataFrame`):
            (M, 1) ids.
        targets (`DataFrame`):
            (N, T) targets of the train rows. With several targets of a metric of probabilities, each holds 0 and 1 only.
        predicts (`str`):
            `Metric.predicts` of the metric.
    """
    import pandas as pd

    if targets.shape[1] == 1:
        return _sample(ids, targets.iloc[:, 0], predicts)
    columns = [_sample(ids, targets[name], predicts).iloc[:, 1] for name in targets.columns]
    return pd.concat([ids, *columns], axis=1)


def strata_of(target: pd.Series, metric: Metric) -> pd.Series:
    """What the split is stratified by. Texts are no classes: each may occur once."""
    return target if metric.predicts != "text" else target.map(lambda text: "")


def _sample(ids: pd.DataFrame, target: pd.Series, kind: PredictionKind) -> pd.DataFrame:
    import pandas as pd

    if kind == "number":
        return ids.assign(**{str(target.name): _mean(target)})
    if kind in ("label", "text"):
        return ids.assign(**{str(target.name): target.mode().iloc[0]})
    classes = class_names(target)
    if classes == ["0", "1"]:
        return ids.assign(**{str(target.name): 0.5})
    if (id_column := ids.columns[0]) in classes:
        raise TaskError(
            f"a class is called {id_column!r}, as the column of the row ids; rename the class, or that column (`--id`)."
        )
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
