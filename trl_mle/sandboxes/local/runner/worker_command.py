"""The command that starts a worker: the host uses it, and so does the guest of a virtual machine."""

from __future__ import annotations

import os

from .interpreter.threads import THREAD_VARIABLES

_ENTRY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "__main__.py")
_PASSED_ON = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "LD_LIBRARY_PATH")


def command(python: str, descriptor: int) -> list[str]:
    """The command line of a worker, whose host is at the other end of the socket `descriptor`."""
    # Not -I: it would ignore PYTHONHASHSEED, and the order of sets would differ between workers.
    return [python, "-s", "-P", "-B", _ENTRY, str(descriptor)]


def environment(folder: str | os.PathLike[str]) -> dict[str, str]:
    """The environment of a worker, made from scratch: the host's holds keys, tokens and paths."""
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "PYTHONHASHSEED": "0",
        **dict.fromkeys(THREAD_VARIABLES, "1"),
        **{name: os.environ[name] for name in _PASSED_ON if name in os.environ},
    }
