"""`create_task`: a task folder from what a user has."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from trl_mle.errors import TaskError
from trl_mle.tasks.cache import prepare_new
from trl_mle.tasks.column_names import clean_name
from trl_mle.tasks.create.images import name_images, packages_for, write_images
from trl_mle.tasks.create.options import check_options, read_description
from trl_mle.tasks.create.proposal import propose
from trl_mle.tasks.create.questions import raise_open
from trl_mle.tasks.create.rare_classes import RARE_ROWS
from trl_mle.tasks.create.request import Request
from trl_mle.tasks.create.tables import build_tables, read_rows
from trl_mle.tasks.feature_columns import missing_words
from trl_mle.tasks.folder import load_folder, write_folder
from trl_mle.tasks.score_anchors import sample_transform
from trl_mle.tasks.task import Task
from trl_mle.tasks.task_yaml import task_yaml
from trl_mle.types import TaskSpec

logger = logging.getLogger(__name__)

MAX_ID = 100
"""Longest id of a task, in characters."""


def create_task(
    csv: Path | str,
    target: str | Sequence[str] | None = None,
    metric: str | None = None,
    out: Path | str | None = None,
    *,
    title: str | None = None,
    description: str | None = None,
    drop: Sequence[str] = (),
    keep: Sequence[str] = (),
    id_column: str | None = None,
    split: str | None = None,
    rare: str | None = None,
    rare_rows: int = RARE_ROWS,
    test_fraction: float = 0.3,
    public_fraction: float = 0.5,
    time_limit_s: float = 60.0,
    seed: int = 0,
    sep: str | None = None,
    encoding: str | None = None,
    decimal: str | None = None,
    drop_missing_targets: bool | None = None,
    keep_missing_words: bool = False,
) -> Task:
    """Make the task folder `out` from a labelled table, a Kaggle folder or a folder of images.

    Target and metric are found in the table if they are not given, and what the table leaves open is an error that lists the
    choices. Rows are shuffled, unless they are split by time, and get new ids. Row ids are left out.

    A metric of probabilities gets one prediction column per class, or a single one if the labels are 0 and 1. The score transform
    gives -0.5 to the sample submission (mean, most common label or equal probabilities) and 1 to a perfect submission.

    Cells of the features stay as they are written, except decimal commas and dates, which become ISO 8601. Numbers of the target
    may be written as text, such as `$3,800.00`. What is decided about the table is logged as a warning.

    Args:
        csv (`Path`):
            A table with a header: a CSV file (also compressed by gzip, bz2, xz or zip), or an Excel, Parquet or Feather file. Or a
            folder: with `train.csv` and a sample submission as Kaggle has it, or with images and their labels.
        target (`str` or `Sequence[str]`, *optional*):
            Column to predict, or several.
        metric (`str`, *optional*):
            Name of a metric of `trl_mle.grading.METRICS`. With several targets, the score is the mean over them.
        out (`Path`, *optional*):
            Folder to make. Its name becomes the task's id. Defaults to the name of the table in the working directory.
        title (`str`, *optional*):
            One line for tables. Defaults to the target and the name of the file.
        description (`str`, *optional*):
            Text of `description.md`, which the prompt shows. Defaults to one sentence that names the target.
        drop (`Sequence[str]`, *optional*):
            Columns to leave out.
        keep (`Sequence[str]`, *optional*):
            Columns that stay features although they look like row ids or give the target away.
        id_column (`str`, *optional*):
            Name of the column of new row ids. A column of the table with this name is left out. Defaults to `id`.
        split (`str`, *optional*):
            `random` (default), `group:COLUMN` or `time:COLUMN`, see [`RowSplit`].
        rare (`str`, *optional*):
            Classes with fewer than `rare_rows` rows: `keep` (default), `drop` or `merge`, see [`treat_rare`].
        rare_rows (`int`, *optional*, defaults to `10`):
            Classes with fewer rows are rare.
        test_fraction (`float`, *optional*, defaults to `0.3`):
            Share of the rows that become test rows, whose target is hidden.
        public_fraction (`float`, *optional*, defaults to `0.5`):
            Share of the test rows whose answers give the reward.
        time_limit_s (`float`, *optional*, defaults to `60.0`):
            Wall-clock limit of a program, in seconds.
        seed (`int`, *optional*, defaults to `0`):
            Seed of the shuffle and of the splits.
        sep (`str`, *optional*):
            Separator of the cells: one character, or "comma", "semicolon", "tab", "pipe" or "space". Found in the table if it is
            not given.
        encoding (`str`, *optional*):
            Encoding of the file, such as "cp1252". UTF-8 by default, or as a byte order mark says.
        decimal (`str`, *optional*):
            Decimal mark of numbers, "." or ",". Found in the numbers if it is not given.
        drop_missing_targets (`bool`, *optional*):
            Whether rows without a target are left out. Otherwise they are an error.
        keep_missing_words (`bool`, *optional*, defaults to `False`):
            Whether words such as `None` and `NA` in the target are classes. They get an underscore, as in `None_`, because pandas
            reads them as missing values.

    Raises:
        TaskError: the table, the target, the metric, an option or `out` cannot be used, or the table leaves something open. The
            message names the fix.
    """
    out = check_options(
        default_out(csv) if out is None else out, test_fraction, public_fraction, time_limit_s, seed, decimal
    )
    request = Request.of(
        target,
        metric,
        drop,
        keep,
        id_column=id_column,
        split=split,
        rare=rare,
        rare_rows=rare_rows,
        drop_missing_targets=drop_missing_targets,
        keep_missing_words=keep_missing_words,
        decimal=decimal,
    )
    proposal = propose(csv, request, sep, encoding)
    raise_open(proposal.questions, str(proposal.origin.path))
    rows = read_rows(proposal)
    tables, placed, image_column = name_images(
        build_tables(rows, proposal, test_fraction, public_fraction, seed), proposal.origin
    )
    for note in rows.notes:
        logger.warning("%s: %s", proposal.origin.name, note)
    targets, scorer = proposal.request.targets, rows.metric
    name = _printable(proposal.origin.name)
    id_column = str(tables.sample.columns[0])
    spec = TaskSpec(
        id=re.sub(r"[^A-Za-z0-9._-]+", "-", out.name).lstrip("._-")[:MAX_ID] or "task",
        title=_printable(str(title or "")) or f"Predict {' and '.join(targets)} of {name}",
        description=read_description(
            description, targets, missing_words(rows.features), image_column, proposal.request.split
        ),
        folder=out,
        metric=scorer.name,
        direction=scorer.direction,
        id_column=id_column,
        prediction_columns=tuple(column for column in tables.sample.columns if column != id_column),
        target_columns=targets,
        time_limit_s=float(time_limit_s),
        packages=packages_for(proposal.origin),
    )
    transform, comment = sample_transform(tables, spec, scorer)
    text = task_yaml(replace(spec, transform=transform), comment)

    def build(folder: Path) -> None:
        write_folder(folder, tables, id_column, targets)
        write_images(folder, placed)
        (folder / "task.yaml").write_text(text, encoding="utf-8")
        (folder / "description.md").write_text(spec.description + "\n", encoding="utf-8", errors="replace")
        try:
            load_folder(folder)
        except TaskError as error:
            # The folder is removed, so that its name would help nobody.
            message = str(error).replace(f"{folder}{os.sep}", "")
            raise TaskError(f"{proposal.origin.path} gives no task: {message}") from error

    return load_folder(prepare_new(out, build))


def default_out(csv: Path | str) -> Path:
    """The folder that a task gets by default: the name of the table in the working directory, with `-task` beside a folder."""
    path = Path(str(csv)).expanduser()
    name = path.resolve().name
    if path.is_dir():
        return Path(f"{name}-task") if Path(name).exists() else Path(name)
    while len(suffix := Path(name).suffix) in range(2, 9):
        name = name.removesuffix(suffix)
    return Path(name)


def _printable(name: str) -> str:
    """A name on one line. What no text file holds, such as bytes of a file's name that are not UTF-8, becomes question marks."""
    return clean_name(name.encode("utf-8", "replace").decode("utf-8"))
