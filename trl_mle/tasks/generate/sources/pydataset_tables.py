"""Tables of R packages that pydataset bundles: over 700. pydataset is not imported: it would write into the home folder."""

from __future__ import annotations

import csv
import io
import tarfile
from functools import lru_cache
from typing import TYPE_CHECKING

from trl_mle.errors import TaskError
from trl_mle.tasks.builtin.packaged_data import data_file
from trl_mle.tasks.generate.sources.base import SourceTable, package_version, text_title

if TYPE_CHECKING:
    import pandas as pd

ROOT = "resources/rdata/"


def tables() -> list[SourceTable]:
    """All tables. Titles are those of the R packages."""
    files = _files()
    titles = {
        f"{row['Package']}/{row['Item']}": row["Title"]
        for row in csv.DictReader(io.StringIO(files["datasets.csv"].decode("utf-8", "replace")))
    }
    names = sorted(name.removeprefix("csv/").removesuffix(".csv") for name in files if name.startswith("csv/"))
    shipped_in = package_version("pydataset")
    return [
        SourceTable(
            "pydataset",
            name,
            text_title(titles.get(name, ""), name.split("/")[-1]),
            f"data set {name.split('/')[-1]!r} of the R package {name.split('/')[0]!r}, bundled in {shipped_in}",
            f"that of the R package {name.split('/')[0]!r}",
        )
        for name in names
    ]


def read(table: SourceTable) -> pd.DataFrame:
    """The table without R's row names, unless they are names."""
    import pandas as pd

    data = _files().get(f"csv/{table.name}.csv")
    if data is None:
        raise TaskError(f"the installed version of `pydataset` has no table {table.name}.")
    return pd.read_csv(io.BytesIO(data), encoding="utf-8", encoding_errors="replace", low_memory=False)


@lru_cache(maxsize=1)
def _files() -> dict[str, bytes]:
    """Content of the index and of all tables. The archive can only be read from its start, so it is read once."""
    files: dict[str, bytes] = {}
    with tarfile.open(data_file("pydataset", "resources.tar.gz")) as archive:
        for member in archive:
            name = member.name.removeprefix(ROOT)
            # Names that start with "._" are what macOS adds.
            wanted = name == "datasets.csv" or (name.startswith("csv/") and name.endswith(".csv"))
            if wanted and member.isfile() and not name.split("/")[-1].startswith("._"):
                file = archive.extractfile(member)
                files[name] = file.read() if file else b""
    return files
