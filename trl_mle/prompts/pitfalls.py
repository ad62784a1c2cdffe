"""What a prompt says against the mistakes that small language models make most often with a train and a test table.

`benchmarks/untrained_policy.py` counts them: the target is read from the test table, text reaches a model of scikit-learn, rows
that were held out are predicted in place of the test rows, ids are not those of the test table.
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
MAX_FRAME = 700
"""Longest frame of a program, in characters."""
FEW_CATEGORIES = 20
"""Most categories of a column that becomes one column for each."""
SQUARED_METRICS = {"rmse": "mean_squared_error", "rmsle": "mean_squared_log_error"}
"""Metric -> the function of `sklearn.metrics` that gave its root with `squared=False`. The root has `root_` before this name."""
PROBABILITIES = ("log_loss", "roc_auc")
"""Metrics of probabilities."""
MEDIA = (
    ".bmp",
    ".dcm",
    ".flac",
    ".gif",
    ".jpeg",
    ".jpg",
    ".mp3",
    ".npy",
    ".ogg",
    ".png",
    ".tif",
    ".tiff",
    ".wav",
    ".webp",
)
"""Ends of the names of files that a table refers to. Such a name is no feature."""


def pitfalls(
    task: TaskSpec, train: pd.DataFrame, test_columns: Sequence[str], is_plain: bool = True
) -> tuple[list[str], list[str]]:
    """Sentences for `task`, and the frame of a program for it, if one frame fits.

    Args:
        train (`pandas.DataFrame`):
            The train rows as programs read them.
        test_columns (sequence of `str`):
            Columns of the test table.
        is_plain (`bool`, *optional*, defaults to `True`):
            Whether `pandas.read_csv` without further arguments reads ids and labels as they are.
    """
    train_file, test_file = path_of(task.train_file or ""), path_of(task.test_file or "")
    hidden = [name for name in task.target_columns if name not in test_columns]
    features = [name for name in train.columns if name in test_columns and name != task.id_column]
    texts = [name for name in features if _is_text(train[name])]
    categories = bool(texts) and all(train[name].nunique() <= FEW_CATEGORIES for name in texts)
    frame = []
    if is_plain and not any(_is_media(train[name]) for name in features):
        frame = _frame(task, list(train.columns), test_columns, hidden, categories)
    has_sklearn = "scikit-learn" in task.packages
    sentences = []
    if hidden and not frame:
        those = "that" if len(hidden) == 1 else "those"
        sentences.append(f"{test_file} has no {_names(hidden, 'or')}. Drop or select {those} in {train_file} alone.")
    if texts and has_sklearn and not (frame and categories):
        holds = "holds" if len(texts) == 1 else "hold"
        sentences.append(
            f"{_names(texts)} {holds} text; scikit-learn needs numbers. Fit what makes them on {train_file}, use it for "
            f"{test_file}, too."
        )
    sentences.append(
        f"Check the model on rows of {train_file} that you hold out, then predict the rows of {test_file}."
    )
    if has_sklearn and (function := SQUARED_METRICS.get(task.metric)):
        sentences.append(f"`{function}` has no argument `squared`; there is `root_{function}`.")
    return sentences, frame


def _is_text(column: pd.Series) -> bool:
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column) or _is_media(column):
        return False
    return not column.dropna().map(lambda value: isinstance(value, bool)).all()  # truth values, some of them missing


def _is_media(column: pd.Series) -> bool:
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column):
        return False
    values = column.dropna()
    return bool(len(values)) and all(str(value).lower().endswith(MEDIA) for value in values)


def _names(names: Sequence[str], last: str = "and") -> str:
    shown = [name_of(name) for name in names[:SHOWN_NAMES]]
    if len(names) > SHOWN_NAMES:
        return f"{', '.join(shown)} and {len(names) - SHOWN_NAMES} more columns"
    return f" {last} ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else shown[0]


def _frame(
    task: TaskSpec, train_columns: Sequence[str], test_columns: Sequence[str], hidden: Sequence[str], categories: bool
) -> list[str]:
    """The first and the last lines of a program, or nothing if they depend on the program or a name cannot be shown as it is."""
    names = task.prediction_columns
    if "pandas" not in task.packages or task.id_column is None or task.id_column not in test_columns:
        return []
    if len(task.target_columns) != 1 or len(hidden) != 1:
        return []
    files = (task.train_file or "", task.test_file or "")
    if any(name_of(name) != name for name in (task.id_column, *hidden, *names)) or any(map(_is_odd, files)):
        return []
    key, target = _literal(task.id_column), _literal(hidden[0])
    train_file, test_file = (_literal(f"input/{name}") for name in files)
    features, of_test = f"train.drop(columns=[{key}, {target}])", f"test.drop(columns=[{key}])"
    given = [name for name in test_columns if name != task.id_column]
    if not set(given) <= set(train_columns):
        return []
    if task.id_column not in train_columns or given != [
        name for name in train_columns if name not in (task.id_column, hidden[0])
    ]:  # scikit-learn wants the same columns in the same order
        features = f"train[test.columns.drop({key})]"
    if categories:
        features = f"pd.get_dummies({features})"
        of_test = f"pd.get_dummies({of_test}).reindex(columns=X.columns, fill_value=0)"
    lines = [
        "import pandas as pd",
        f"train = pd.read_csv({train_file})",
        f"test = pd.read_csv({test_file})",
        f"y = train[{target}]",
        f"X = {features}",
        f"X_test = {of_test}",
        "# the model, and its predictions for X_test",
    ]
    if len(names) == 1:
        lines.append(f"submission = pd.DataFrame({{{key}: test[{key}], {_literal(names[0])}: predictions}})")
    elif task.metric in PROBABILITIES:
        lines += [
            "submission = pd.DataFrame(predictions, columns=model.classes_)",
            f"submission.insert(0, {key}, test[{key}])",
        ]
    else:
        return []
    lines.append('submission.to_csv("submission.csv", index=False)')
    return lines if sum(map(len, lines)) <= MAX_FRAME else []


def _literal(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)


def _is_odd(file: str) -> bool:
    """Whether a table is not read by `pandas.read_csv` without further arguments, or its name cannot be shown as it is."""
    return path_of(file) != file or not file.lower().endswith(".csv")
