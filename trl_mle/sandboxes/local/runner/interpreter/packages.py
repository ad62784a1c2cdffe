"""The packages of a program: files and module names of the distributions that a task allows, and where packages lie."""

from __future__ import annotations

import glob
import importlib.metadata
import os
import re
import site
import sys
import sysconfig
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_ACCELERATORS = {"pandas": ("pyarrow", "numexpr", "bottleneck")}
"""Optional packages that a distribution uses by itself if they are installed."""

_INSTALLED = tuple(sys.path)
"""The path of packages before `imports.install` puts links in their place."""

HIDDEN_DATA = tuple(f"sklearn/datasets/{name}" for name in ("data", "descr", "images", "tests/data"))
"""Data inside of packages from which built-in tasks are made. The answers could be looked up there."""


@dataclass(frozen=True)
class AllowedPackages:
    """The packages that a program may import beside the standard library."""

    distributions: tuple[str, ...]
    """The names in the task."""
    modules: frozenset[str]
    """Top-level names of modules, including those of dependencies."""
    entries: tuple[tuple[str, str], ...]
    """Files and folders that hold the modules, each with its path relative to the folder of packages."""
    hidden: tuple[str, ...]
    """Paths below `entries` that stay unreadable."""


NOTHING = AllowedPackages((), frozenset(), (), ())


class MissingPackageError(Exception):
    """A task allows a distribution that this interpreter lacks."""


@lru_cache(maxsize=32)
def resolve(names: tuple[str, ...]) -> AllowedPackages:
    """The distributions `names` and their requirements, without extras.

    A requirement under a marker counts if it is installed: one readable package more than needed does no harm.
    """
    modules: set[str] = set()
    entries: set[tuple[str, str]] = set()
    hidden: set[str] = set()
    for distribution in _closure(names):
        for entry, root in _entries(distribution):
            top, _, rest = entry.partition("/")
            if not top.endswith((".dist-info", ".egg-info", ".libs")):
                modules.add(top if rest else top.split(".")[0])
            entries.add((os.path.join(root, entry), entry))
            hidden.update(os.path.join(root, data) for data in HIDDEN_DATA)
    return AllowedPackages(names, frozenset(modules), tuple(sorted(entries)), tuple(sorted(hidden)))


def _closure(names: Collection[str]) -> list[importlib.metadata.Distribution]:
    closure: dict[str, importlib.metadata.Distribution] = {}
    pending = [(name, True) for name in names]
    while pending:
        name, wanted = pending.pop()
        key = re.sub(r"[-_.]+", "-", name).lower()
        if key in closure:
            continue
        try:
            distribution = next(iter(importlib.metadata.distributions(name=name, path=list(_INSTALLED))))
        except StopIteration:
            # A requirement may be for another platform; a name in the task must be there.
            if wanted:
                raise MissingPackageError(name) from None
            continue
        closure[key] = distribution
        for requirement in distribution.requires or ():
            match = _NAME.match(requirement)
            if match and "extra ==" not in requirement:
                pending.append((match.group(), False))
        pending += [(name, False) for name in _ACCELERATORS.get(key, ())]
    return list(closure.values())


def _entries(distribution: importlib.metadata.Distribution) -> Iterator[tuple[str, str]]:
    """Paths of a distribution, with the folder they are relative to: whole packages if possible, otherwise files."""
    root = str(distribution.locate_file(""))
    files = distribution.files
    if files is None:  # installed by another tool than pip, which keeps no list of files
        text = distribution.read_text("top_level.txt") or distribution.metadata["Name"].replace("-", "_")
        for name in text.split():
            for candidate in (name, f"{name}.py"):
                if os.path.exists(os.path.join(root, candidate)):
                    yield candidate, root
        return
    packages: dict[str, bool] = {}
    for file in files:
        top = file.parts[0]
        if top in ("..", "/") or file.is_absolute():
            continue  # scripts and shared data outside of the packages
        if len(file.parts) > 1 and top not in packages:
            packages[top] = top.endswith((".dist-info", ".libs")) or os.path.exists(
                os.path.join(root, top, "__init__.py")
            )
        if packages.get(top):
            continue
        yield file.as_posix(), root  # of a namespace package, or of `__pycache__`, which others share
    yield from ((name, root) for name, whole in packages.items() if whole)


@lru_cache(maxsize=1)
def library_folders() -> tuple[str, ...]:
    """Folders of the standard library."""
    of_base = {"base": sys.base_prefix, "platbase": sys.base_exec_prefix}
    return tuple(sorted({sysconfig.get_path(name, vars=of_base) for name in ("stdlib", "platstdlib")}))


@lru_cache(maxsize=1)
def package_folders() -> tuple[str, ...]:
    """Folders of installed packages, of this interpreter and of the system."""
    folders = {*site.getsitepackages(), site.getusersitepackages()}
    for root in (sys.prefix, sys.base_prefix, "/usr", "/usr/local"):
        for kind in ("site-packages", "dist-packages"):
            folders.update(glob.glob(os.path.join(glob.escape(root), "lib*", "python*", kind)))
    return tuple(sorted(folder for folder in folders if os.path.isdir(folder)))
