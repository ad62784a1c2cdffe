"""The end of a program's interpreter: exceptions are shown, output is flushed and the exit code is made as CPython does it.

The order and the rules are those of `Py_RunMain` and `Py_FinalizeEx`. Nothing that a program leaves behind raises here: its
objects may stand in the place of streams, hooks and modules.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from types import ModuleType, SimpleNamespace

FLUSH_FAILED = 120
"""Exit code of an interpreter that could not write what was left in a standard stream."""
_STREAMS = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)


def guarded(action: Callable[[], object], frames: int = 1) -> int:
    """The exit code that the interpreter would give after `action`. Tracebacks leave out the first `frames` frames."""
    try:
        action()
    except SystemExit as end:
        return _exit_code(end)
    except BaseException as error:
        trace = error.__traceback__
        for _ in range(frames):
            trace = trace.tb_next if trace else None
        return _show(error.with_traceback(trace))
    return 0


def finish(main: ModuleType, known: int, work: str, status: int) -> int:
    """End the interpreter of a program and return its exit code.

    Args:
        main (`ModuleType`): the module of the program.
        known (`int`): number of modules that had been imported before the program.
        work (`str`): the program's folder.
        status (`int`): the exit code so far.
    """
    status = guarded(threading._shutdown) or status  # type: ignore[attr-defined]
    flushed = True
    # An alarm of the program may ring in each of these steps, and its handler may raise.
    for step in (atexit._run_exitfuncs, _flush_standard, lambda: _forget(main, known, work), _flush_rest):
        try:
            flushed = step() is not False and flushed
        except BaseException:
            continue
    return status if flushed else FLUSH_FAILED


def _exit_code(end: SystemExit) -> int:
    code = end.code
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF if -(2**63) <= code < 2**63 else 0xFF
    with suppress(BaseException):  # neither the text nor the stream need be what they seem
        _write_error(str(code))
    with suppress(BaseException):
        _write_error("\n")
    return 1


def _write_error(text: str) -> None:
    stream = getattr(sys, "stderr", None)
    if stream is None:
        os.write(2, text.encode("utf-8", "backslashreplace"))
    else:
        stream.write(text)


def _show(error: BaseException) -> int:
    """Show `error` by the hook of the program, or by the interpreter's own if that fails; the exit code."""
    code = 128 + signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    try:
        hook = sys.excepthook
    except AttributeError:
        with suppress(BaseException):
            _write_error("sys.excepthook is missing\n")
            _display(error)
        return code
    try:
        hook(type(error), error, error.__traceback__)
    except SystemExit as end:
        return _exit_code(end)
    except BaseException as second:
        # Without the frame of this function, and without `error`, which the interpreter shows by itself.
        trace = second.__traceback__.tb_next if second.__traceback__ else None
        second.__context__ = None if second.__context__ is error else second.__context__
        with suppress(BaseException):
            _write_error("Error in sys.excepthook:\n")
            _display(second.with_traceback(trace))
            _write_error("\nOriginal exception was:\n")
            _display(error)
    return code


def _display(error: BaseException) -> None:
    sys.__excepthook__(type(error), error, error.__traceback__)


def _flush_standard() -> bool:
    """Flush the standard streams of the program, whatever stands in their place; whether that worked."""
    flushed = True
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name, None)
        if stream is None or _is_closed(stream):
            continue
        try:
            stream.flush()
        except BaseException as error:
            flushed = False
            if name == "stdout":
                with suppress(BaseException):
                    _show_ignored(error, stream)
    return flushed


def _show_ignored(error: BaseException, thing: object) -> None:
    """Show `error` as the interpreter shows one that it cannot raise."""
    trace = error.__traceback__.tb_next if error.__traceback__ else None
    if sys.unraisablehook is not sys.__unraisablehook__:
        # The interpreter's own type of these arguments cannot be made by hand, and its hook takes no other.
        sys.unraisablehook(
            SimpleNamespace(exc_type=type(error), exc_value=error, exc_traceback=trace, err_msg=None, object=thing)
        )
        return
    _write_error(f"Exception ignored in: {thing!r}\n")
    _write_error("".join(traceback.format_exception(type(error), error, trace, chain=False)))


def _is_closed(stream: object) -> bool:
    try:
        return bool(stream.closed)  # type: ignore[attr-defined]
    except BaseException:
        return False


def _forget(main: ModuleType, known: int, work: str) -> None:
    """Drop the program's variables, so that open files are flushed."""
    # Modules are kept in the order of their import, and reading the older ones would copy the worker's pages.
    latest = list(islice(reversed(sys.modules.values()), max(0, len(sys.modules) - known)))
    for module in (main, *(module for module in latest if _is_own(module, work))):
        for name in list(module.__dict__):
            if name != "__builtins__":
                module.__dict__[name] = None
    gc.collect()


def _is_own(module: object, work: str) -> bool:
    # A program may put anything into `sys.modules`: `None` forbids an import.
    path = module.__dict__.get("__file__") if isinstance(module, ModuleType) else None
    return isinstance(path, str) and path.startswith(work + os.sep)


def _flush_rest() -> None:
    """Flush the files that something still holds: standard streams that the program has replaced, attributes of libraries.

    The objects of the fork server are frozen and are not among those that are looked at.
    """
    files = [thing for thing in gc.get_objects() if type(thing) in _STREAMS]
    for stream in (getattr(sys, "__stdout__", None), getattr(sys, "__stderr__", None), *files):
        with suppress(BaseException):  # a stream may be closed, detached or no stream at all
            if stream.writable():
                stream.flush()
    ctypes.CDLL(None).fflush(None)  # what C libraries have printed
