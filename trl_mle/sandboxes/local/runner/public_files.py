"""The check of a task's public files before a program needs them: an unreadable file is not the program's fault."""

from __future__ import annotations

import os
from functools import lru_cache


class UnusableError(Exception):
    """Programs could not read all of the public files; the message says why."""


@lru_cache(maxsize=1024)
def check(folder: str) -> None:
    """Raise `UnusableError` if programs could not read everything in `folder`. A success is remembered."""
    if not os.path.isdir(folder):
        raise UnusableError(f"the folder of public files {folder!r} does not exist")
    inside = os.path.realpath(folder) + os.sep
    for here, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(here, name)
            if os.path.islink(path) and not os.path.realpath(path).startswith(inside):
                raise UnusableError(
                    f"the public file {path!r} is a link that leads out of its folder; copy the file there"
                )
            if not os.access(path, os.R_OK | (os.X_OK if name in folders else 0)):
                raise UnusableError(f"the public file {path!r} cannot be read by this user; change its mode or owner")
