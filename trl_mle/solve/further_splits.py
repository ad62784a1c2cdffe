"""Further splits of the rows that chose: a candidate for the best program is scored on each, and the mean decides.

The private rows of the task stay out of all of them, so that the score on these remains an estimate without a part in the choice.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from trl_mle.errors import ConfigError
from trl_mle.grading import SPLIT_COLUMN, get_metric
from trl_mle.tasks import TabularTask, Task
from trl_mle.tasks.assemble import TaskTables
from trl_mle.tasks.cache import prepare_new
from trl_mle.tasks.create.row_splits import RowSplit
from trl_mle.tasks.folder import load_folder, write_folder

if TYPE_CHECKING:
    import pandas as pd

TEST_SHARE = 0.3
"""Share of the rows that a split holds out."""


def further_splits(task: Task, folder: Path, count: int, split: RowSplit | None = None) -> tuple[Task, ...]:
    """`count` tasks with other divisions of the same rows. Folders that are there are used again.

    Args:
        task ([`TabularTask`]):
            The task of the search.
        folder (`Path`):
            Gets a folder per split.
        count (`int`):
            Number of further splits.
        split ([`RowSplit`], *optional*):
            How rows are divided. At random by default.

    Raises:
        ConfigError: rows are divided by time, or by a column that programs do not get: then there is no other division.
        TaskError: there are too few rows.
    """
    if not count:
        return ()
    split = split or RowSplit()
    if (
        not isinstance(task, TabularTask)
        or task.id_column is None
        or task.train_path is None
        or task.test_path is None
    ):
        raise ConfigError("`--splits` needs a Kaggle folder of tables.")
    if split.kind == "time":
        raise ConfigError(f"`--splits` does not go with `--split {split}`: there is one division by time.")
    found = []
    for number in range(2, count + 2):
        home = folder / f"{task.folder.name}-{number}"
        if not home.exists():
            prepare_new(home, lambda empty, number=number: _write(task, empty, number, split))  # type: ignore[misc]
        found.append(load_folder(home))
    return tuple(found)


def _write(task: TabularTask, folder: Path, seed: int, split: RowSplit) -> None:
    assert task.id_column is not None
    rows, sample = _labelled_rows(task)
    keys = None
    if split.column is not None:
        if split.column not in rows.columns:
            raise ConfigError(f"`--splits` does not go with `--split {split}`: programs do not get that column.")
        keys = split.keys(rows[split.column])
    numeric = get_metric(task.metric).predicts == "number"
    target = rows[task.target_column]
    is_test = split.mask(keys, target.astype(float) if numeric else target, TEST_SHARE, seed, numeric)
    features = [name for name in rows.columns if name not in task.target_columns]
    train, test = rows[~is_test].reset_index(drop=True), rows[is_test].reset_index(drop=True)
    train.insert(0, task.id_column, range(len(train)))
    test.insert(0, task.id_column, range(len(train), len(train) + len(test)))
    parts = ["public" if number % 2 else "private" for number in range(len(test))]
    tables = TaskTables(
        train=train,
        test=test[[task.id_column, *features]],
        sample=sample.iloc[[0] * len(test)].reset_index(drop=True).assign(**{task.id_column: test[task.id_column]}),
        answers=test.assign(**{SPLIT_COLUMN: parts}),
    )
    write_folder(folder, tables, task.id_column, task.target_columns)
    for name in ("task.yaml", "description.md"):
        shutil.copyfile(task.folder / name, folder / name)


def _labelled_rows(task: TabularTask) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Train rows and public test rows with their targets, as texts without ids; and the sample submission."""
    import pandas as pd

    def read(path: Path) -> pd.DataFrame:
        return pd.read_csv(path, dtype=str, keep_default_na=False)

    assert task.train_path is not None and task.test_path is not None and task.id_column is not None
    train, test, answers = read(task.train_path), read(task.test_path), read(task.answers_path)
    public = answers[answers[SPLIT_COLUMN] == "public"].drop(columns=SPLIT_COLUMN)
    labelled = test.merge(public, on=task.id_column, validate="one_to_one")
    rows = pd.concat([train, labelled[train.columns]], ignore_index=True).drop(columns=task.id_column)
    return rows.sample(frac=1.0, random_state=0, ignore_index=True), read(task.sample_path)
