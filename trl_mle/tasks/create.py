"""`create_task`: a task folder from a user's CSV file."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from trl_mle.errors import TaskError
from trl_mle.grading import SPLIT_COLUMN, Metric, get_metric, grade_submission
from trl_mle.tasks.assemble import ID_COLUMN, TaskTables, assemble
from trl_mle.tasks.cache import prepare_once
from trl_mle.tasks.folder import load_folder, write_folder
from trl_mle.tasks.task import Task
from trl_mle.tasks.task_yaml import task_yaml
from trl_mle.types import ScoreTransform, TaskSpec

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

MAX_CLASSES = 200
"""Most classes of a target. A column with more distinct values is probably a number with the wrong metric."""


def create_task(
    csv: Path | str,
    target: str,
    metric: str,
    out: Path | str,
    *,
    title: str | None = None,
    description: str | None = None,
    drop: Sequence[str] = (),
    test_fraction: float = 0.3,
    public_fraction: float = 0.5,
    time_limit_s: float = 60.0,
    seed: int = 0,
) -> Task:
    """Make the task folder `out` from one labelled table.

    Rows are shuffled and get new ids. The test rows and the two parts of the answers are split off by `seed`, stratified by
    class or by quantiles of a number. A metric of probabilities gets one prediction column per class, or a single one if the
    labels are 0 and 1. The score transform gives -0.5 to the sample submission (mean, most common label or equal
    probabilities) and 1 to a perfect submission.

    Args:
        csv (`Path`):
            CSV file with a header.
        target (`str`):
            Column to predict.
        metric (`str`):
            Name of a metric of `trl_mle.grading.METRICS`.
        out (`Path`):
            Folder to make. Its name becomes the task's id.
        title (`str`, *optional*):
            One line for tables. Defaults to the target and the name of the file.
        description (`str`, *optional*):
            Text of `description.md`, which the prompt shows. Defaults to one sentence that names the target.
        drop (`Sequence[str]`, *optional*):
            Columns to leave out, such as row ids.
        test_fraction (`float`, *optional*, defaults to `0.3`):
            Share of the rows that become test rows, whose target is hidden.
        public_fraction (`float`, *optional*, defaults to `0.5`):
            Share of the test rows whose answers give the reward.
        time_limit_s (`float`, *optional*, defaults to `60.0`):
            Wall-clock limit of a program, in seconds.
        seed (`int`, *optional*, defaults to `0`):
            Seed of the shuffle and of the splits.

    Raises:
        TaskError: the table, the target, the metric or `out` cannot be used; the message names the fix.
    """
    csv, out = Path(csv), Path(out)
    scorer = get_metric(metric)
    if out.exists():
        raise TaskError(f"{out} exists already; choose another folder or remove it.")
    for name, share in (("test_fraction", test_fraction), ("public_fraction", public_fraction)):
        if not 0.0 < share < 1.0:
            raise TaskError(f"{name} is {share}; write a share between 0 and 1.")
    table = _read(csv, target, drop)
    table[target] = _clean_target(table[target], scorer, csv)
    test_rows = round(test_fraction * len(table))
    tables = assemble(table, target, metric, len(table) - test_rows, test_rows, seed, public_fraction)
    _check_classes(tables, target, scorer)
    spec = TaskSpec(
        id=re.sub(r"[^A-Za-z0-9._-]+", "-", out.name).lstrip("._-") or "task",
        title=title or f"Predict {target} of {csv.name}",
        description=description or f"Predict the column `{target}` from the other columns.",
        folder=out,
        metric=metric,
        direction=scorer.direction,
        id_column=ID_COLUMN,
        prediction_columns=tuple(column for column in tables.sample.columns if column != ID_COLUMN),
        target_column=target,
        time_limit_s=float(time_limit_s),
    )
    text = _task_yaml(spec, tables, scorer)

    def build(folder: Path) -> None:
        write_folder(folder, tables, ID_COLUMN, target)
        (folder / "task.yaml").write_text(text, encoding="utf-8")
        (folder / "description.md").write_text(spec.description + "\n", encoding="utf-8")
        load_folder(folder)

    return load_folder(prepare_once(out, build))


def _read(csv: Path, target: str, drop: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    try:
        table = pd.read_csv(csv)
    except FileNotFoundError as error:
        raise TaskError(f"{csv} does not exist; give the path of a CSV file.") from error
    except (OSError, ValueError) as error:  # pandas' parser errors are ValueErrors
        raise TaskError(f"{csv} is not a readable CSV file: {error}") from error
    for column in (target, *drop):
        if column not in table.columns:
            raise TaskError(f"{csv} has no column {column!r}; it has {', '.join(map(repr, table.columns))}.")
    if target in drop:
        raise TaskError(f"{target!r} is the target and cannot be dropped.")
    table = table.drop(columns=list(drop))
    if table.shape[1] < 2:
        raise TaskError(f"{csv} has no column beside the target {target!r}; there is nothing to predict from.")
    if missing := int(table[target].isna().sum()):
        raise TaskError(f"{missing} of {len(table)} rows of {csv} have no {target!r}; remove these rows.")
    if ID_COLUMN in table.columns:
        raise TaskError(
            f"{csv} has a column {ID_COLUMN!r}, the name of the new row ids; drop it (`--drop {ID_COLUMN}`)."
        )
    for column in table.columns:
        whole = column != target and pd.api.types.is_integer_dtype(table[column])
        if whole and table[column].is_unique and len(table) > 20:
            logger.warning("Column %r has another whole number in each row. Drop it if it is a row id.", column)
    return table


def _clean_target(values: pd.Series, metric: Metric, csv: Path) -> pd.Series:
    import pandas as pd

    name = values.name
    if values.nunique() < 2:
        raise TaskError(f"column {name!r} of {csv} has the same value in each row; there is nothing to learn.")
    if metric.predicts == "number":
        if pd.api.types.is_bool_dtype(values) or not pd.api.types.is_numeric_dtype(values):
            raise TaskError(
                f"{metric.name} needs numbers, but column {name!r} holds {values.iloc[0]!r}; try accuracy."
            )
        if metric.minimum is not None and values.min() < metric.minimum:
            raise TaskError(
                f"{metric.name} needs numbers of at least {metric.minimum:g}; the least is {values.min()}."
            )
        return values
    if values.nunique() > MAX_CLASSES:
        raise TaskError(
            f"column {name!r} of {csv} has {values.nunique()} different values, too many for the classes of "
            f"{metric.name} (at most {MAX_CLASSES}); try rmse."
        )
    # Whole numbers in a column of floats are class codes: a table may have been written after a value was missing.
    if pd.api.types.is_float_dtype(values):
        if (values % 1 != 0).any():
            raise TaskError(f"{metric.name} needs classes, but column {name!r} holds fractions; try rmse.")
        return values.astype(int)
    if pd.api.types.is_integer_dtype(values):
        return values
    return values.astype(str).str.strip()


def _check_classes(tables: TaskTables, target: str, metric: Metric) -> None:
    if metric.predicts == "number":
        return
    answers = tables.answers
    parts = {"train": tables.train[target]}
    # Every class must be learnable from the train rows. Some scores also need every class in each part of the answers.
    if metric.needs_every_class:
        parts |= {part: answers.loc[answers[SPLIT_COLUMN] == part, target] for part in ("public", "private")}
    for value in sorted({*tables.train[target], *answers[target]}):
        for part, values in parts.items():
            if not (values == value).any():
                rows = int((tables.train[target] == value).sum() + (answers[target] == value).sum())
                raise TaskError(
                    f"class {value!r} of {target!r} has only {rows} rows, and none of them is in the {part} part; "
                    f"remove or merge the class, or change the fractions."
                )


def _task_yaml(spec: TaskSpec, tables: TaskTables, metric: Metric) -> str:
    grade = grade_submission(tables.sample.to_csv(index=False).encode(), tables.answers, spec, "all")
    if grade.score is None:
        raise TaskError(f"the sample submission has no {metric.name}: {grade.reason}. Choose another metric.")
    # The sample's score shall be a quarter of the way from worst (-1) to best (1), which is -0.5.
    worst = grade.score - (metric.best - grade.score) / 3
    transform = ScoreTransform("linear", round(worst, 6), metric.best)
    comment = (
        f"The transform gives the sample submission ({metric.name} {grade.score:.6g}) -0.5 and a perfect one 1.\n"
        f"Set `best` to the best score that you think can be reached."
    )
    return task_yaml(replace(spec, transform=transform), comment)
