"""The task's public files, before a program is given them: what it could not read would be no fault of its own."""

from __future__ import annotations

import os
from functools import lru_cache


class UnusableError(Exception):
    """Programs could not read all of the public files; why."""


@lru_cache(maxsize=1024)
def check(folder: str) -> None:
    """Raise `UnusableError` if programs could not read all that is in `folder`; looked at until it is right once."""
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
