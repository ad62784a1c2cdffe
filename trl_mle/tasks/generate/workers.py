"""One process per table, a few at a time: a table that hangs, or takes all memory, costs itself and no other."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import resource
import signal
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from trl_mle.errors import TaskError

MEMORY_BYTES = 4 * 1024**3
"""Memory of a process that makes the tasks of a table, in bytes."""
_PR_SET_PDEATHSIG = 1
_PRELOADED = [
    "pandas",
    "scipy.stats",
    *(f"sklearn.{name}" for name in ("compose", "ensemble", "feature_extraction.text", "impute", "linear_model")),
    *(f"sklearn.{name}" for name in ("metrics", "model_selection", "pipeline", "preprocessing", "tree")),
    "trl_mle.tasks.generate.build",
]


@dataclass(frozen=True)
class Job:
    """A function to call in a process of its own."""

    key: str
    function: Callable[..., Any]
    """Importable by its name."""
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class Result:
    """What came of a job."""

    job: Job
    value: Any = None
    """What the function returned."""
    reason: str = ""
    """Why there is no value: the process was killed, or the function failed."""
    detail: str = ""


@dataclass
class _Running:
    job: Job
    process: BaseProcess
    answers: Connection
    until: float


def run_jobs(jobs: Iterable[Job], processes: int, limit_s: float) -> Iterator[Result]:
    """Run `jobs` in at most `processes` processes at a time. Results come as they are ready.

    Args:
        jobs (`Iterable[Job]`):
            Taken one by one, each when a process is free.
        processes (`int`):
            Number of processes.
        limit_s (`float`):
            Wall-clock seconds after which a process is killed.

    Raises:
        TaskError: a job failed because of the machine, such as a full disk.
    """
    # Forked from a server that has loaded the libraries and has no threads, so that a process starts at once.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    waiting = iter(jobs)
    running: list[_Running] = []
    try:
        while True:
            while len(running) < processes and (job := next(waiting, None)) is not None:
                running.append(_start(context, job, limit_s))
            if not running:
                return
            timeout = max(0.0, min(each.until for each in running) - time.monotonic())
            ready = wait([each.answers for each in running], timeout)
            for each in list(running):
                if each.answers in ready or time.monotonic() >= each.until:
                    running.remove(each)
                    yield _finish(each, limit_s)
    finally:
        for each in running:
            each.process.kill()
            each.process.join()


def _start(context: Any, job: Job, limit_s: float) -> _Running:
    answers, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(sender, job), daemon=True)
    process.start()
    sender.close()  # so that the end of the process is the end of the pipe
    return _Running(job, process, answers, time.monotonic() + limit_s)


def _finish(running: _Running, limit_s: float) -> Result:
    try:
        if not running.answers.poll():
            return Result(running.job, reason="took too long", detail=f"over {limit_s:g} s")
        kind, value = running.answers.recv()
    except EOFError:
        running.process.join()
        return Result(running.job, reason="its process died", detail=f"exit code {running.process.exitcode}")
    finally:
        running.process.kill()
        running.process.join()
        running.answers.close()
    if kind == "stop":
        raise TaskError(value)
    return Result(running.job, value) if kind == "value" else Result(running.job, None, *value)


def _work(sender: Connection, job: Job) -> None:
    """Call the function of a job and send what comes of it."""
    from threadpoolctl import threadpool_limits

    os.setsid()  # Ctrl-C reaches the generation alone, which ends its processes
    _end_with_server()
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    try:
        with threadpool_limits(1):
            answer: tuple[str, Any] = ("value", job.function(*job.arguments))
    except OSError as error:
        answer = ("stop", f"{job.key}: {error}.")
    except TaskError as error:
        answer = ("stop", str(error))
    except MemoryError:
        answer = ("failed", ("too much memory", f"over {MEMORY_BYTES // 1024**2} MiB"))
    except Exception as error:  # a table that nobody has thought of; the others go on
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{place.filename.rsplit('/', 1)[-1]}:{place.lineno}"
        answer = ("failed", ("internal error", f"{type(error).__name__} in {where}: {str(error)[:200]}"))
    with contextlib.suppress(BrokenPipeError):  # nobody waits for it any more
        sender.send(answer)
    sender.close()


def _end_with_server() -> None:
    """End with the fork server, and so with the generation, also if that is killed.

    Otherwise a generation that goes on would meet the folders of a process of the one before.
    """
    with contextlib.suppress(OSError, AttributeError):  # of other systems than Linux
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
