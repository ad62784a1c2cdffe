"""What a prompt says about the mistakes that small language models make most often with a train and a test table.

`benchmarks/untrained_policy.py` counts them: the target is read from the test table, text reaches a model of scikit-learn, a
held-out part of the training rows is predicted in place of the test rows, ids are not those of the test table.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from trl_mle.prompts.file_list import path_of
from trl_mle.prompts.table_summary import name_of
from trl_mle.types import TaskSpec

if TYPE_CHECKING:
    import pandas as pd

SHOWN_NAMES = 6
"""Most names of columns in a sentence."""
MAX_EXAMPLE = 200
"""Longest example of how the submission is written, in characters."""
ROOT_METRICS = {"rmse": "root_mean_squared_error", "rmsle": "root_mean_squared_log_error"}
"""Metric -> its function in `sklearn.metrics`."""
PROBABILITIES = ("log_loss", "roc_auc")
"""Metrics of probabilities."""


def pitfalls(task: TaskSpec, train: pd.DataFrame, test_columns: Sequence[str]) -> tuple[list[str], list[str]]:
    """Sentences for `task`, and the lines that write its submission, if they are the same for every program.

    Args:
        train (`pandas.DataFrame`):
            The train rows as programs read them.
        test_columns (sequence of `str`):
            Columns of the test table.
    """
    train_file, test_file = path_of(task.train_file or ""), path_of(task.test_file or "")
    hidden = [name for name in task.target_columns if name not in test_columns]
    features = [name for name in train.columns if name in test_columns and name != task.id_column]
    sentences = []
    if hidden:
        sentences.append(f"{test_file} has no {_names(hidden)}. Drop or select that in {train_file} alone.")
    if texts := [name for name in features if _is_text(train[name])]:
        holds = "holds" if len(texts) == 1 else "hold"
        sentences.append(
            f"{_names(texts)} {holds} text; scikit-learn needs numbers. Fit what makes them on {train_file}, use it for "
            f"{test_file}, too."
        )
    sentences.append(f"Predict the rows of {test_file}, not a part of {train_file} that you hold out.")
    if "scikit-learn" in task.packages:
        sentences += _renamed(task.metric, bool(texts))
    sentences.append("Import every name that you use.")
    return sentences, _writing(task, test_columns)


def _renamed(metric: str, texts: bool) -> list[str]:
    """What programs for an older scikit-learn write."""
    found = []
    if texts:
        found.append("`OneHotEncoder` has no argument `sparse`; it is `sparse_output`.")
    if metric in ROOT_METRICS:
        found.append(f"`mean_squared_error` has no argument `squared`; there is `{ROOT_METRICS[metric]}`.")
    return found


def _is_text(column: pd.Series) -> bool:
    import pandas as pd

    return not (pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column))


def _names(names: Sequence[str]) -> str:
    shown = [name_of(name) for name in names[:SHOWN_NAMES]]
    if len(names) > SHOWN_NAMES:
        return f"{', '.join(shown)} and {len(names) - SHOWN_NAMES} more columns"
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else shown[0]


def _writing(task: TaskSpec, test_columns: Sequence[str]) -> list[str]:
    """The last lines of a program, or nothing if a name cannot be shown as it is."""
    names = task.prediction_columns
    if task.id_column is None or task.id_column not in test_columns or len(task.target_columns) != 1:
        return []
    if any(name_of(name) != name for name in (task.id_column, *names)):
        return []
    key = json.dumps(task.id_column, ensure_ascii=False)
    if len(names) == 1:
        column = json.dumps(names[0], ensure_ascii=False)
        lines = [f"submission = pd.DataFrame({{{key}: test[{key}], {column}: predictions}})"]
    elif task.metric in PROBABILITIES:
        lines = [
            "submission = pd.DataFrame(predictions, columns=model.classes_)",
            f"submission.insert(0, {key}, test[{key}])",
        ]
    else:
        return []
    lines.append('submission.to_csv("submission.csv", index=False)')
    return lines if sum(map(len, lines)) <= MAX_EXAMPLE else []
