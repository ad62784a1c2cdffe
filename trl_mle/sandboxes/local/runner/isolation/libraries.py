"""Shared libraries of the machine that programs see, without the applications and data that lie beside them.

A folder such as `/usr/lib` also holds dictionaries, other languages and other programs' files. Which of them are there differs
between machines, and some of them solve a task.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from ..interpreter.packages import library_folders

_ROOTS = ("/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/local/lib", "/usr/local/lib64")
_LIBRARY = re.compile(r"(?:lib|ld)[^/]*\.so(?:\.[0-9.]+)?|ld\.so.*")
_OF_AN_ARCHITECTURE = re.compile(r"[a-z0-9_]+-linux-(?:gnu|musl)[a-z0-9]*")
_FOLDERS = re.compile(
    r"gcc|gconv|openblas.*|atlas.*|blas.*|lapack.*|mkl.*|intel.*|nvidia.*|cuda.*|rocm.*|wsl|hdf5|openmpi|tls|(?:glibc-)?hwcaps"
    r"|engines.*|ossl-modules|terminfo"
)
"""Folders below a folder of libraries that hold libraries too, or what these read."""
_HIDDEN_IN_STANDARD_LIBRARY = (
    *("test", "idlelib", "turtledemo", "pydoc_data", "ensurepip"),
    *("lib2to3/tests", "unittest/test", "ctypes/test", "distutils/tests", "tkinter/test", "sqlite3/test"),
)
"""Tests, tools and texts of the standard library, which no program needs."""


@dataclass(frozen=True)
class Libraries:
    """Folders of shared libraries."""

    shown: tuple[str, ...]
    """Those that programs see."""
    hidden: tuple[str, ...]
    """Folders below `shown` that they do not see."""


@lru_cache(maxsize=1)
def libraries() -> Libraries:
    """The folders of shared libraries of this machine."""
    return find_libraries((*_ROOTS, os.path.join(sys.base_prefix, "lib")), library_folders())


def find_libraries(roots: tuple[str, ...], standard_library: tuple[str, ...]) -> Libraries:
    """The folders of shared libraries among `roots`.

    Args:
        roots (`tuple[str, ...]`): folders in which to look; missing ones are left out.
        standard_library (`tuple[str, ...]`): folders of Python's own library. They may lie below a root.
    """
    shown: list[str] = []
    hidden: set[str] = set()
    kept = [os.path.realpath(folder) for folder in standard_library]
    for root in roots:
        folders, has_libraries = _entries(root)
        if has_libraries:
            shown.append(root)
            hidden.update(_unlisted(root, folders, kept))
        else:
            shown += [os.path.join(root, name) for name in folders if _is_listed(name)]
        for name in filter(_OF_AN_ARCHITECTURE.fullmatch, folders):
            folder = os.path.join(root, name)
            hidden.update(_unlisted(folder, _entries(folder)[0], kept))
    for folder in kept:
        hidden.update(os.path.join(folder, name) for name in _HIDDEN_IN_STANDARD_LIBRARY)
    return Libraries(tuple(shown), tuple(sorted(path for path in hidden if os.path.isdir(path))))


def _entries(folder: str) -> tuple[list[str], bool]:
    """Names of the real folders in `folder`, and whether libraries lie beside them."""
    folders, has_libraries = [], False
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.name)
                else:
                    has_libraries = has_libraries or _LIBRARY.fullmatch(entry.name) is not None
    except OSError:  # no such folder, or one that this user may not read
        return [], False
    return sorted(folders), has_libraries


def _is_listed(name: str) -> bool:
    return (_FOLDERS.fullmatch(name) or _OF_AN_ARCHITECTURE.fullmatch(name)) is not None


def _unlisted(root: str, folders: list[str], kept: list[str]) -> Iterator[str]:
    """Real paths of `folders` that are not on the list and hold nothing of `kept`."""
    for name in folders:
        path = os.path.realpath(os.path.join(root, name))
        if not _is_listed(name) and not any(f"{folder}/".startswith(f"{path}/") for folder in kept):
            yield path
