"""The data sets of statsmodels: CSV files with titles, sources and copyright notes in a module beside each."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

from trl_mle.errors import TaskError
from trl_mle.tasks.builtin.packaged_data import data_file
from trl_mle.tasks.generate.sources.base import UNKNOWN, SourceTable, package_version, text_title

if TYPE_CHECKING:
    import pandas as pd

EXTRA = "generate"


def tables() -> list[SourceTable]:
    """One table per CSV file."""
    shipped_in = package_version("statsmodels")
    found = []
    for path in sorted(_folder().glob("*/*.csv")):
        notes = _notes(path.parent / "data.py")
        name = f"{path.parent.name}/{path.stem}"
        origin = f"data set {path.parent.name!r} of {shipped_in}"
        if source := " ".join(notes.get("SOURCE", "").split()):
            origin += f": {source[:300]}"
        licence = text_title(notes.get("COPYRIGHT", ""), UNKNOWN)
        title = text_title(notes.get("TITLE", ""), path.parent.name)
        found.append(SourceTable("statsmodels", name, title, origin, licence))
    return found


def read(table: SourceTable) -> pd.DataFrame:
    """The table. Some files are separated by white space or semicolons."""
    import pandas as pd

    path = _folder() / f"{table.name}.csv"
    if not path.is_file():
        raise TaskError(f"the installed version of `statsmodels` has no table {table.name}.")
    return pd.read_csv(path, sep=None, engine="python", encoding="utf-8", encoding_errors="replace")


def _folder() -> Path:
    return data_file("statsmodels", "datasets/__init__.py", EXTRA).parent


def _notes(module: Path) -> dict[str, str]:
    """The module's constants of text, such as `TITLE`. It is parsed, because an import loads all of statsmodels."""
    if not module.is_file():
        return {}
    tree = ast.parse(module.read_text(encoding="utf-8", errors="replace"))
    return {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
