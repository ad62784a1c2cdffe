"""Removes a folder when the process that has started this one ends, however that happens.

    python -I sweeper.py FOLDER

The standard input is a pipe whose other end the starting process holds. Not a child of it: Ray kills those.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

_PATIENCE_S = 20.0
"""How long programs of a killed process may go on writing before the folder is left as it is, in seconds."""


def start(folder: str) -> subprocess.Popen[bytes]:
    """Have `folder` removed when this process ends, or closes the standard input of what is returned."""
    command = [sys.executable, "-I", os.path.abspath(__file__), folder]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True, cwd="/")
    process.wait()  # it has gone into the background
    return process


def main(folder: str) -> None:
    """Go into the background and wait."""
    if os.fork():
        os._exit(0)
    os.setsid()
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "local"))
    from runner.limits import workdir  # type: ignore[import-not-found]  # `trl_mle` may not be importable here

    while os.read(0, 4096):
        pass
    deadline = time.monotonic() + _PATIENCE_S
    while os.path.exists(folder) and time.monotonic() < deadline:
        try:
            workdir.remove(folder)
        except OSError:
            time.sleep(0.1)


if __name__ == "__main__":
    main(sys.argv[1])
