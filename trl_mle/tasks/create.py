"""`create_task`: a task folder from a user's table."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from trl_mle.errors import TaskError
from trl_mle.grading import SPLIT_COLUMN, Metric, get_metric
from trl_mle.tasks.assemble import ID_COLUMN, TaskTables, assemble
from trl_mle.tasks.cache import prepare_new
from trl_mle.tasks.column_names import clean_name, no_column
from trl_mle.tasks.create_options import check_options, read_description
from trl_mle.tasks.feature_columns import decimal_mark, missing_words, read_features
from trl_mle.tasks.folder import load_folder, write_folder
from trl_mle.tasks.score_anchors import sample_transform
from trl_mle.tasks.table_file import check_path
from trl_mle.tasks.target_column import TargetOptions, read_target
from trl_mle.tasks.task import Task
from trl_mle.tasks.task_yaml import task_yaml
from trl_mle.tasks.text_table import read_text_table
from trl_mle.types import TaskSpec

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

MAX_ID = 100
"""Longest id of a task, in characters."""


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
    sep: str | None = None,
    encoding: str | None = None,
    decimal: str | None = None,
    drop_missing_targets: bool = False,
    keep_missing_words: bool = False,
) -> Task:
    """Make the task folder `out` from one labelled table.

    Rows are shuffled and get new ids. The test rows and the two parts of the answers are split off by `seed`, stratified by
    class or by quantiles of a number. A metric of probabilities gets one prediction column per class, or a single one if the
    labels are 0 and 1. The score transform gives -0.5 to the sample submission (mean, most common label or equal
    probabilities) and 1 to a perfect submission.

    Cells of the features stay as they are written, except decimal commas. Numbers of the target may be written as text, such as
    `$3,800.00`. What is decided about the table is logged as a warning.

    Args:
        csv (`Path`):
            Table with a header: a CSV file (also compressed by gzip, bz2, xz or zip), or an Excel, Parquet or Feather file.
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
        sep (`str`, *optional*):
            Separator of the cells: one character, or "comma", "semicolon", "tab", "pipe" or "space". Found by the target if it is
            not given.
        encoding (`str`, *optional*):
            Encoding of the file, such as "cp1252". UTF-8 by default, or as a byte order mark says.
        decimal (`str`, *optional*):
            Decimal mark of numbers, "." or ",". Found in the numbers if it is not given.
        drop_missing_targets (`bool`, *optional*, defaults to `False`):
            Whether rows without a target are left out. Otherwise they are an error.
        keep_missing_words (`bool`, *optional*, defaults to `False`):
            Whether words such as `None` and `NA` in the target are classes. They get an underscore, as in `None_`, because pandas
            reads them as missing values.

    Raises:
        TaskError: the table, the target, the metric, an option or `out` cannot be used; the message names the fix.
    """
    scorer = get_metric(metric)
    out = check_options(out, test_fraction, public_fraction, time_limit_s, seed, decimal)
    path = check_path(csv)
    table = read_text_table(path, target, sep, encoding)
    target = clean_name(target)
    dropped = (drop,) if isinstance(drop, str) else tuple(drop or ())
    frame = _chosen_columns(table.frame, target, tuple(map(clean_name, dropped)), path)
    decimal_found, undecided = decimal_mark(frame, table.separator, decimal)
    options = TargetOptions(decimal_found, drop_missing_targets, keep_missing_words)
    answers = read_target(frame[target], scorer, path.name, options)
    features, notes = read_features(frame.drop(columns=target), decimal_found, named=decimal is not None)
    frame = features.loc[answers.values.index].assign(**{target: answers.values})
    for note in (*table.notes, *undecided, *notes, *answers.notes, *_suspicions(frame, target)):
        logger.warning("%s: %s", path.name, note)
    tables = _split(frame, target, scorer, test_fraction, public_fraction, seed)
    name = _printable(path.name)
    spec = TaskSpec(
        id=re.sub(r"[^A-Za-z0-9._-]+", "-", out.name).lstrip("._-")[:MAX_ID] or "task",
        title=_printable(str(title or "")) or f"Predict {target} of {name}",
        description=read_description(description, target, missing_words(features)),
        folder=out,
        metric=metric,
        direction=scorer.direction,
        id_column=ID_COLUMN,
        prediction_columns=tuple(column for column in tables.sample.columns if column != ID_COLUMN),
        target_column=target,
        time_limit_s=float(time_limit_s),
    )
    transform, comment = sample_transform(tables, spec, scorer)
    text = task_yaml(replace(spec, transform=transform), comment)

    def build(folder: Path) -> None:
        write_folder(folder, tables, ID_COLUMN, target)
        (folder / "task.yaml").write_text(text, encoding="utf-8")
        (folder / "description.md").write_text(spec.description + "\n", encoding="utf-8", errors="replace")
        try:
            load_folder(folder)
        except TaskError as error:
            # The folder is removed, so that its name would help nobody.
            raise TaskError(f"{path} gives no task: {str(error).replace(f'{folder}{os.sep}', '')}") from error

    return load_folder(prepare_new(out, build))


def _chosen_columns(frame: pd.DataFrame, target: str, drop: tuple[str, ...], path: Path) -> pd.DataFrame:
    columns = list(frame.columns)
    for column in (target, *drop):
        if column not in columns:
            raise TaskError(no_column(path, column, columns))
    if target in drop:
        raise TaskError(f"{target!r} is the target and cannot be dropped.")
    if target == ID_COLUMN:
        raise TaskError(f"the target {target!r} has the name of the new row ids; rename this column of {path}.")
    frame = frame.drop(columns=list(drop))
    if frame.shape[1] < 2:
        raise TaskError(f"{path} has no column beside the target {target!r}; there is nothing to predict from.")
    if ID_COLUMN in frame.columns:
        raise TaskError(
            f"{path} has a column {ID_COLUMN!r}, the name of the new row ids; drop it (`--drop {ID_COLUMN}`)."
        )
    return frame


def _suspicions(frame: pd.DataFrame, target: str) -> list[str]:
    """What is probably a mistake, in sentences."""
    notes = []
    answers = frame[target].astype(str)
    for column in frame.columns.drop(target):
        texts = frame[column]
        if (texts == answers).all():
            notes.append(f"Column {column!r} equals the target and gives the answers away. Drop it (`--drop`).")
        elif len(frame) > 20 and texts.is_unique and texts.str.fullmatch(r"[+-]?\d+").all():
            notes.append(f"Column {column!r} has another whole number in each row. Drop it if it is a row id.")
    return notes


def _split(
    frame: pd.DataFrame, target: str, metric: Metric, test_fraction: float, public_fraction: float, seed: int
) -> TaskTables:
    test_rows = round(test_fraction * len(frame))
    for share, rows, option in (
        (test_fraction, len(frame), "--test-fraction"),
        (public_fraction, test_rows, "--public-fraction"),
    ):
        if not 0 < round(share * rows) < rows:
            raise TaskError(
                f"{rows} {'rows' if option == '--test-fraction' else 'test rows'} cannot be split with a share of {share} "
                f"(`{option}`): one part would be empty. Give more rows or another share."
            )
    tables = assemble(frame, target, metric.name, len(frame) - test_rows, test_rows, seed, public_fraction)
    _check_classes(tables, target, metric)
    return tables


def _check_classes(tables: TaskTables, target: str, metric: Metric) -> None:
    if metric.predicts in ("number", "text"):
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


def _printable(name: str) -> str:
    """A name on one line. What no text file holds, such as bytes of a file's name that are not UTF-8, becomes question marks."""
    return clean_name(name.encode("utf-8", "replace").decode("utf-8"))
