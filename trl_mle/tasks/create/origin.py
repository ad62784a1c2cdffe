"""`read_origin`: the labelled table behind a path, which is a file, a Kaggle folder or a folder of images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from trl_mle.tasks.assemble import ID_COLUMN
from trl_mle.tasks.table_file import check_path
from trl_mle.tasks.text_table import read_text_table

if TYPE_CHECKING:
    import pandas as pd

    from trl_mle.tasks.create.image_files import ImageFile


@dataclass(frozen=True)
class Origin:
    """A labelled table with what its surroundings say about the task."""

    path: Path
    """The file or the folder."""
    frame: pd.DataFrame
    """(N, C) texts. Index: line of the file."""
    separator: str = ","
    notes: tuple[str, ...] = ()
    """What was decided about the files, in sentences."""
    id_column: str = ID_COLUMN
    """Name of the column of new row ids."""
    targets: tuple[str, ...] = ()
    """Targets that a sample submission names."""
    reason: str = ""
    """How the targets were found."""
    metric: str | None = None
    """Metric that the sample submission speaks for."""
    metric_reason: str = ""
    prediction_columns: tuple[str, ...] = ()
    """Prediction columns of the sample submission, in order."""
    left_out: tuple[str, ...] = ()
    """Columns of the table that `frame` lacks, because the test rows lack them."""
    image_column: str | None = None
    """Column of `frame` that names images."""
    images: Mapping[str, ImageFile] = field(default_factory=dict)
    """Image by its name in `image_column`."""

    @property
    def name(self) -> str:
        """The name of the file or of the folder, for messages."""
        return self.path.name


def read_origin(
    csv: Path | str, targets: tuple[str, ...] = (), sep: str | None = None, encoding: str | None = None
) -> Origin:
    """Read the table.

    Args:
        csv (`Path`):
            A table, a folder with `train.csv` as Kaggle has it, or a folder of images with labels.
        targets (`tuple[str, ...]`, *optional*):
            Columns to predict, if the user names them. The table must have the first one.
        sep, encoding (`str`, *optional*):
            As in `create_task`.

    Raises:
        TaskError: the table cannot be read.
    """
    path = check_path(csv, folders=True)
    if path.is_dir():
        from trl_mle.tasks.create.folders import read_folder

        return read_folder(path, targets, sep, encoding)
    table = read_text_table(path, targets[0] if targets else None, sep, encoding)
    return Origin(path, table.frame, table.separator, table.notes)
