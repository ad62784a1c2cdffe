"""The tables that scikit-learn bundles. Programs may import scikit-learn, so they are disguised (`disguise.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trl_mle.errors import TaskError
from trl_mle.tasks.generate.sources.base import SourceTable, package_version

if TYPE_CHECKING:
    import pandas as pd

_TITLES = {
    "breast_cancer": "Cell nuclei of breast tumours",
    "diabetes": "Progression of diabetes within a year",
    "digits": "Handwritten digits of 8 x 8 pixels",
    "iris": "Measurements of iris flowers",
    "linnerud": "Exercises and body measurements",
    "wine": "Chemical analysis of wines of three growers",
}


def tables() -> list[SourceTable]:
    """The tables that need no download."""
    origin = package_version("scikit-learn")
    return [
        SourceTable("sklearn", name, title, f"`load_{name}` of {origin}", "BSD-3-Clause", importable=True)
        for name, title in _TITLES.items()
    ]


def read(table: SourceTable) -> pd.DataFrame:
    """Features and target in one table."""
    from sklearn import datasets

    if table.name not in _TITLES:
        raise TaskError(f"scikit-learn bundles no table {table.name!r}; it has {', '.join(_TITLES)}.")
    return getattr(datasets, f"load_{table.name}")(as_frame=True).frame
