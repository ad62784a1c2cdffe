"""The run of a program: a forked interpreter is made to look like a fresh one, runs the program, and ends like one."""

from __future__ import annotations

import builtins
import io
import os
import random
import sys
import tempfile
import time
from importlib.machinery import SourceFileLoader
from types import CodeType, ModuleType

from .ending import finish, guarded
from .imports import foreign_modules, install
from .line_numbers import compile_program
from .packages import AllowedPackages
from .threads import THREAD_VARIABLES, raise_threads


def prepare(work: str, program: str, packages: AllowedPackages, links: str, threads: int) -> None:
    """Remove what a forked interpreter has and a fresh one would not have: seeds, paths, modules."""
    temporary = os.path.join(work, "tmp")
    os.environ.update({name: str(threads) for name in THREAD_VARIABLES})
    os.environ.update(HOME=temporary, TMPDIR=temporary, USER="program", LOGNAME="program", PYTHONPATH=links)
    tempfile.tempdir = None
    time.tzset()
    sys.argv[:] = [program]
    sys.orig_argv[:] = [sys.executable, program]
    install(packages, links)
    sys.path.insert(0, work)
    for name in foreign_modules(packages):
        sys.modules.pop(name, None)
    process = sys.modules.get("multiprocessing.process")
    if process is not None:
        process.ORIGINAL_DIR = work  # type: ignore[attr-defined]
    random.seed()
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()
    if threads > 1:
        raise_threads(threads)
    _open_streams()


def _open_streams() -> None:
    """Standard streams like those of a fresh interpreter. Those of the fork server know what the descriptors were then.

    An old stream takes a pipe for a file in which it can seek, and `reconfigure` fails.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        raw = io.FileIO(number, mode, closefd=False)
        raw.name = f"<{name}>"
        buffer = io.BufferedReader(raw) if mode == "r" else io.BufferedWriter(raw)
        errors = "backslashreplace" if name == "stderr" else "surrogateescape"
        # Not block-buffered: a buffer would lose what a program printed before it was killed.
        stream = io.TextIOWrapper(buffer, "utf-8", errors, line_buffering=mode == "w")
        stream.mode = mode  # type: ignore[misc]  # as Python's own start does
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def execute(code: bytes, source: bytes, work: str, program: str) -> int:
    """Run `code` as `__main__`, as if it were the file `program` in `work`, and return the interpreter's exit code.

    The file itself holds `source`; `code` is a copy of it with statements added.
    """
    known = len(sys.modules)
    main = ModuleType("__main__")
    path = os.path.join(work, program)
    main.__dict__.update(__builtins__=builtins, __file__=path, __loader__=SourceFileLoader("__main__", path))
    main.__dict__.update(__cached__=None, __annotations__={})
    sys.modules["__main__"] = main
    compiled: list[CodeType] = []
    status = guarded(lambda: compiled.append(compile_program(code, source, program)), frames=3)
    if compiled:
        status = guarded(lambda: exec(compiled.pop(), main.__dict__), frames=2)
    return finish(main, known, work, status)
