"""From a data set of DARE-bench to a task folder."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from trl_mle.errors import TaskError
from trl_mle.grading import PARTS, SPLIT_COLUMN, AnswerKey, grade_submission
from trl_mle.tasks.dare_bench.clone import DareDataset
from trl_mle.tasks.dare_bench.describe import description_of
from trl_mle.tasks.dare_bench.keys import row_keys
from trl_mle.tasks.dare_bench.parts import public_blocks, public_rows
from trl_mle.tasks.dare_bench.tables import ROW_ID, read_table
from trl_mle.tasks.task_yaml import task_yaml
from trl_mle.types import ScoreTransform, TaskSpec

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

SEED = 0
TRIES = 50
"""Seeds that are tried for parts in which the metric is defined."""
TIME_LIMIT_S = (60.0, 200.0)
"""Least and largest wall-clock limit of a program, in seconds. The largest is DARE-bench's own."""
CELLS_PER_S = 20_000
"""Cells of the training table for which a program gets a second more."""
METRICS = {"classification": "f1_macro", "regression": "r2_clipped", "time_series_analysis": "r2_clipped"}


@dataclass(frozen=True)
class DareTables:
    """Tables of a task, as text."""

    train: pd.DataFrame
    """Columns: `row_id`, features, targets."""
    test: pd.DataFrame
    """Columns: `row_id`, and what is known of the rows to predict."""
    answers: pd.DataFrame
    """Columns: `row_id`, targets; in the order of `test`."""
    given_away: int
    """Training rows that were left out because they hold answers."""


def build(dataset: DareDataset, folder: Path) -> None:
    """Write the task folder of `dataset` into the empty `folder`.

    Raises:
        TaskError: a file is broken, or the files contradict each other.
    """
    tables = read_tables(dataset)
    numeric = dataset.kind != "classification"
    sample = tables.test[[ROW_ID]].assign(**_constant(tables.train[list(dataset.targets)], numeric, dataset))
    seconds = min(TIME_LIMIT_S[0] + tables.train.size / CELLS_PER_S, TIME_LIMIT_S[1])
    spec = TaskSpec(
        id=dataset.name,
        title=dataset.title,
        description=description_of(dataset, tables.given_away),
        folder=folder,
        metric=METRICS[dataset.kind],
        direction="maximize",
        id_column=ROW_ID,
        prediction_columns=dataset.targets,
        target_columns=dataset.targets,
        time_limit_s=round(seconds, -1),
        license=dataset.license_text,
    )
    answers, worst = _with_parts(dataset, tables, sample, spec)
    transform = ScoreTransform("linear", worst, 1.0, optimum=1.0)
    comment = (
        f"From DARE-bench, {dataset.url or dataset.name}\n"
        "The transform gives -1 to a constant prediction and 1 to a perfect one."
    )
    public, private = folder / "public", folder / "private"
    public.mkdir(mode=0o755)
    private.mkdir(mode=0o700)
    for name, frame in (("train.csv", tables.train), ("test.csv", tables.test), ("sample_submission.csv", sample)):
        frame.to_csv(public / name, index=False)
    (public / "metadata.txt").write_bytes(dataset.metadata.read_bytes())
    for path in public.iterdir():
        path.chmod(0o444)
    descriptor = os.open(private / "answers.csv", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
        answers.to_csv(file, index=False)
    (folder / "task.yaml").write_text(task_yaml(replace(spec, transform=transform), comment), encoding="utf-8")
    (folder / "description.md").write_text(spec.description + "\n", encoding="utf-8", errors="replace")


def read_tables(dataset: DareDataset) -> DareTables:
    """Read the three tables of `dataset` and match their rows.

    Raises:
        TaskError: a file is broken, or the rows to predict are not those of the answers.
    """
    train, test, answers = (read_table(path) for path in (dataset.train, dataset.test, dataset.answers))
    targets = list(dataset.targets)
    for path, frame in ((dataset.train, train), (dataset.answers, answers)):
        if missing := [name for name in targets if name not in frame.columns]:
            raise TaskError(f"{path} has no column {missing[0]!r}, a target of the data set.")
    if given := [name for name in targets if name in test.columns]:
        raise TaskError(f"{dataset.test} holds the target {given[0]!r}: that gives the answers away.")
    if dataset.time_column is not None:
        return _series(dataset, train, test, answers)
    for path, frame in ((dataset.test, test), (dataset.answers, answers)):
        if ROW_ID not in frame.columns or not frame[ROW_ID].is_unique:
            raise TaskError(f"{path}: {ROW_ID!r} must name each row once.")
    answers = answers.set_index(ROW_ID)
    if set(answers.index) != set(test[ROW_ID]):
        raise TaskError(f"{dataset.answers} has other values of {ROW_ID!r} than {dataset.test}.")
    answers = answers.loc[test[ROW_ID], targets].reset_index()
    if ROW_ID in train.columns:
        train = train.drop(columns=ROW_ID)
    return _checked(dataset, _numbered(train, test), test, answers, 0)


def _series(dataset: DareDataset, train: pd.DataFrame, test: pd.DataFrame, answers: pd.DataFrame) -> DareTables:
    """The tables of a time series, whose rows are named by all columns of `test`. They get a `row_id`."""
    import pandas as pd

    names = [column for column in answers.columns if column not in dataset.targets]
    if ROW_ID in test.columns or set(names) != set(test.columns) or dataset.time_column not in names:
        raise TaskError(f"{dataset.answers} names its rows by {names}, but {dataset.test} has {list(test.columns)}.")
    if missing := [name for name in names if name not in train.columns]:
        raise TaskError(f"{dataset.train} has no column {missing[0]!r}, which names the rows to predict.")
    in_train, in_test, in_answers = row_keys([train, test, answers], names, dataset.time_column, dataset.time_format)
    row = {key: at for at, key in enumerate(in_answers)}
    if len(row) < len(in_answers) or len(set(in_test)) < len(in_test) or set(row) != set(in_test):
        raise TaskError(f"{dataset.answers} does not hold each row of {dataset.test} once.")
    given_away = pd.Series([key in row for key in in_train])
    train = train[~given_away].reset_index(drop=True)
    if train.empty:
        raise TaskError(f"{dataset.train} holds no row besides those to predict.")
    answers = answers.iloc[[row[key] for key in in_test]][list(dataset.targets)].reset_index(drop=True)
    ids = pd.Series([str(number) for number in range(1, len(test) + 1)], name=ROW_ID)
    test = pd.concat([ids, test], axis=1)
    answers = pd.concat([ids, answers], axis=1)
    return _checked(
        dataset, _numbered(train.drop(columns=ROW_ID, errors="ignore"), test), test, answers, int(given_away.sum())
    )


def _numbered(train: pd.DataFrame, test: pd.DataFrame) -> pd.DataFrame:
    """`train` with ids that no row of `test` has, so that both tables have the same columns beside the targets."""
    import pandas as pd

    numbers = pd.to_numeric(test[ROW_ID], errors="coerce")
    first = int(numbers.max()) + 1 if numbers.notna().all() else 1
    ids = pd.Series([str(number) for number in range(first, first + len(train))], name=ROW_ID)
    return pd.concat([ids, train], axis=1)


def _checked(
    dataset: DareDataset, train: pd.DataFrame, test: pd.DataFrame, answers: pd.DataFrame, given_away: int
) -> DareTables:
    for target in dataset.targets:
        if (empty := answers[target].str.strip() == "").any():
            raise TaskError(f"{dataset.answers} has no value of {target!r} in {int(empty.sum())} rows.")
    return DareTables(train, test, answers, given_away)


def _constant(targets: pd.DataFrame, numeric: bool, dataset: DareDataset) -> dict[str, str]:
    """The best guess without features: the mean or the most common label of each target."""
    import pandas as pd

    guess = {}
    for name in targets.columns:
        known = targets[name][targets[name].str.strip() != ""]
        if numeric:
            known = pd.to_numeric(known, errors="coerce").dropna()
        if known.empty:
            raise TaskError(f"{dataset.train} has no value of the target {name!r} that can be used.")
        guess[name] = repr(float(known.mean())) if numeric else str(known.mode().iloc[0])
    return guess


def _with_parts(
    dataset: DareDataset, tables: DareTables, sample: pd.DataFrame, spec: TaskSpec
) -> tuple[pd.DataFrame, float]:
    """The answers with their parts, and the score of the constant prediction.

    Raises:
        TaskError: no seed gives two parts in which the metric is defined.
    """
    import numpy as np

    guess = sample.to_csv(index=False).encode()
    reason = ""
    for seed in range(SEED, SEED + TRIES):
        public = _public(dataset, tables, seed)
        answers = tables.answers.assign(**{SPLIT_COLUMN: np.where(public, "public", "private")})
        if dataset.kind != "classification" and (constant := _constant_target(answers, dataset.targets)):
            reason = f"{constant!r} has one value alone in a part"
            continue
        key = AnswerKey.from_frame(answers, spec, str(dataset.answers))
        grades = {part: grade_submission(guess, key, spec, part) for part in (*PARTS, "all")}
        if (score := grades["all"].score) is not None and all(grade.valid for grade in grades.values()):
            if score >= 1.0:
                raise TaskError(
                    f"{dataset.name}: a constant prediction has the best score; there is nothing to learn."
                )
            return answers, score
        reason = next(grade.reason or "" for grade in grades.values() if not grade.valid)
    raise TaskError(
        f"{dataset.name} has {len(tables.answers)} answers, which give no two parts in which the metric is defined: {reason}."
    )


def _constant_target(answers: pd.DataFrame, targets: tuple[str, ...]) -> str | None:
    """A target that does not vary in a part, if there is one: no R2 is defined for it."""
    counts = answers.groupby(SPLIT_COLUMN)[list(targets)].nunique()
    return next((name for name in targets if (counts[name] < 2).any()), None)


def _public(dataset: DareDataset, tables: DareTables, seed: int) -> np.ndarray:
    if dataset.time_column is not None:
        blocks = public_blocks(tables.test[dataset.time_column], dataset.time_format, seed)
        if blocks is not None:
            return blocks
    return public_rows(tables.answers[list(dataset.targets)], dataset.kind != "classification", seed)
