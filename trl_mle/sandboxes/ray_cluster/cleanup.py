"""Cleanup process: removes a folder when the process that started it ends, for whatever reason.

    python -I cleanup.py FOLDER

Standard input is a pipe whose other end the starting process holds, so that its end closes the pipe. The cleanup process is
a daemon and not a child, because Ray kills the children of an actor.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from importlib.util import module_from_spec, spec_from_file_location

_RETRY_S = 20.0
"""How long the removal is retried while programs of a killed process still write into the folder, in seconds."""


def start(folder: str) -> subprocess.Popen[bytes]:
    """Start the cleanup of `folder`, which happens when this process ends or closes `stdin` of the returned process."""
    command = [sys.executable, "-I", os.path.abspath(__file__), folder]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True, cwd="/")
    process.wait()  # returns at once: the cleanup process has moved to the background
    return process


def main(folder: str) -> None:
    """Move to the background and wait for the end of the starting process."""
    if os.fork():
        os._exit(0)
    os.setsid()
    _load_runner()
    from trl_mle_runner.limits import removal  # type: ignore[import-not-found]  # found by `_load_runner`

    while os.read(0, 4096):
        pass
    deadline = time.monotonic() + _RETRY_S
    while os.path.exists(folder) and time.monotonic() < deadline:
        try:
            removal.remove(folder)
        except OSError:
            time.sleep(0.1)


def _load_runner() -> None:
    """Make the sandbox's runner importable by its path: Ray may have put `trl_mle` where this interpreter does not look."""
    folder = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "local", "runner")
    path = os.path.join(folder, "__init__.py")
    spec = spec_from_file_location("trl_mle_runner", path, submodule_search_locations=[folder])
    assert spec is not None and spec.loader is not None
    sys.modules["trl_mle_runner"] = module_from_spec(spec)
    spec.loader.exec_module(sys.modules["trl_mle_runner"])


if __name__ == "__main__":
    main(sys.argv[1])
