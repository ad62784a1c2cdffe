"""The data sets that river ships. Those that it downloads are left out."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from trl_mle.errors import TaskError
from trl_mle.tasks.builtin.packaged_data import data_file
from trl_mle.tasks.generate.sources.base import SourceTable, package_version

if TYPE_CHECKING:
    import pandas as pd

_TITLES = {
    "airline-passengers.csv": "Monthly airline passengers",
    "banana.zip": "Two banana-shaped classes",
    "chick-weights.csv": "Weights of chicks on four diets",
    "phishing.csv.gz": "Phishing web sites",
    "segment.csv.zip": "Segments of outdoor images",
    "shuttle.csv.gz": "Anomalies of a space shuttle's sensors",
    "solar-flare.csv.zip": "Solar flares of active regions",
    "sp500.csv.gz": "Daily returns of large companies",
    "trump_approval.csv.gz": "Approval ratings by pollster",
    "water-flow.csv": "Hourly flow of a water network",
    "yeast.csv.gz": "Functions of yeast genes",
}


def tables() -> list[SourceTable]:
    """The tables whose files are in the installed version."""
    folder, origin = _folder(), package_version("river")
    return [
        SourceTable("river", name.split(".")[0], title, f"file {name} of {origin}", "BSD-3-Clause (river)")
        for name, title in _TITLES.items()
        if (folder / name).is_file()
    ]


def read(table: SourceTable) -> pd.DataFrame:
    """The table."""
    import pandas as pd

    name = next((name for name in _TITLES if name.split(".")[0] == table.name), None)
    if name is None or not (_folder() / name).is_file():
        raise TaskError(f"the installed version of `river` has no table {table.name}.")
    path = _folder() / name
    if not name.endswith(".zip"):
        return pd.read_csv(path)
    with zipfile.ZipFile(path) as archive:
        member = next(each for each in archive.namelist() if not each.startswith("__MACOSX/"))
        data = archive.read(member)
    if name == "banana.zip":  # lines such as `-1 1:1.6 2:-0.9`
        rows = [[part.split(":")[-1] for part in line.split()] for line in data.decode().splitlines()]
        return pd.DataFrame([row for row in rows if len(row) == 3], columns=["label", "x1", "x2"]).astype(float)
    return pd.read_csv(io.BytesIO(data))


def _folder() -> Path:
    return data_file("river", "datasets/__init__.py", "generate").parent
