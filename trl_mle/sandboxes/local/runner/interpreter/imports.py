"""The import system of a program: it finds the standard library and the packages that the task allows.

The folder of packages is not on a program's path. An import of a package that lies there but cannot be read would end in
`PermissionError`, which optional imports inside of packages do not expect. Allowed packages are linked into a folder of
their own. That folder is on the path of the program and of every interpreter that it starts; all other packages are "not
installed".
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import spec_from_file_location
from types import ModuleType

from .packages import AllowedPackages, library_folders, package_folders

_OWN = __name__.partition(".")[0]
"""The package that this module belongs to in a worker."""
_IMPORT_SYSTEM = frozenset({"_frozen_importlib", "_frozen_importlib_external", "zipimport"})

_FOR_STARTED_INTERPRETERS = """\
import sys

sys.path[:] = [entry for entry in sys.path if not entry.endswith(("site-packages", "dist-packages"))]
"""


def link_packages(packages: AllowedPackages, folder: str) -> None:
    """Make `folder` with a link to each file or package of `packages`. It replaces the folder of packages."""
    os.makedirs(folder)
    for path, entry in packages.entries:
        link = os.path.join(folder, entry)
        os.makedirs(os.path.dirname(link), exist_ok=True)
        if not os.path.lexists(link):
            os.symlink(path, link)
    with open(os.path.join(folder, "sitecustomize.py"), "w") as file:
        file.write(_FOR_STARTED_INTERPRETERS)


class AllowedFinder(PathFinder):
    """A `PathFinder` that resolves links to real paths, and names the allowed packages if a module is missing."""

    links: str
    """Folder of links to allowed packages."""
    distributions: tuple[str, ...]

    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = super().find_spec(fullname, path, target)
        if spec is None:
            # `importlib.util.find_spec` asks whether a module exists and must hear `None`; an import gets the reason.
            if path is None and sys._getframe(2).f_code.co_name == "_find_and_load_unlocked":
                allowed = ", ".join(cls.distributions)
                raise ModuleNotFoundError(f"No module named {fullname!r} (allowed packages: {allowed})", name=fullname)
            return None
        if spec.has_location and spec.origin is not None and spec.origin.startswith(cls.links + os.sep):
            locations = spec.submodule_search_locations
            return spec_from_file_location(
                fullname,
                os.path.realpath(spec.origin),
                submodule_search_locations=None
                if locations is None
                else [os.path.realpath(path) for path in locations],
            )
        return spec


def install(packages: AllowedPackages, links: str) -> None:
    """Let this interpreter import only the standard library and `packages`, which are linked in the folder `links`."""
    AllowedFinder.distributions = packages.distributions
    AllowedFinder.links = links
    # Python leaves frames of its import system out of the traceback of an ImportError; this one is part of it now.
    function = AllowedFinder.find_spec.__func__  # type: ignore[attr-defined]
    function.__code__ = function.__code__.replace(co_filename="<frozen importlib._bootstrap>")
    sys.path[:] = [*(entry for entry in sys.path if _is_library(entry)), links]
    sys.meta_path[:] = [
        AllowedFinder if finder is PathFinder else finder
        for finder in sys.meta_path
        if _top_level(finder) in _IMPORT_SYSTEM | packages.modules | {_OWN}  # without those of editable installs
    ]
    sys.path_hooks[:] = [hook for hook in sys.path_hooks if _top_level(hook) in _IMPORT_SYSTEM]


@lru_cache(maxsize=32)
def foreign_modules(packages: AllowedPackages) -> tuple[str, ...]:
    """Names of imported modules that a program with `packages` must not have, including those of the sandbox.

    Called before the fork: a child that reads every module copies the pages of all of them.
    """
    folders = package_folders()
    return tuple(
        name
        for name, module in sys.modules.items()
        if (top := name.partition(".")[0]) == _OWN
        or (top not in packages.modules and (module.__dict__.get("__file__") or "").startswith(folders))
    )


def _is_library(path: str) -> bool:
    version = f"{sys.version_info.major}{sys.version_info.minor}"
    zipped = os.path.join(sys.base_prefix, sys.platlibdir, f"python{version}.zip")
    return path == zipped or any(
        (path == folder or path.startswith(folder + os.sep)) and path not in package_folders()
        for folder in library_folders()
    )


def _top_level(finder: object) -> str:
    return str(getattr(finder, "__module__", "")).partition(".")[0]
