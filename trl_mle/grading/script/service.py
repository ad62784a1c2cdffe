"""Evaluators in sandboxes: a thread of this process keeps a [`LocalSandbox`] whose workers have imported the usual libraries.

An evaluator is code of others that sees answers and reads what a hostile program wrote. It gets no network, no file of this
machine besides its own, and limits of time and memory. With a warm worker it runs in a fraction of a second.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trl_mle.errors import GradingError, SandboxError, SandboxUnavailableError
from trl_mle.types import Execution, Limits, TaskSpec

if TYPE_CHECKING:
    from trl_mle.sandboxes.local.sandbox import LocalSandbox

ISOLATION = "TRL_MLE_EVALUATOR_ISOLATION"
"""Environment variable: `none` runs evaluators that are trusted on machines without isolation."""
MOST_WORKERS = 2
SUBMISSION = "submission_to_grade.csv"
_INSIDE = Path(__file__).with_name("inside.py")


class StoppedError(GradingError):
    """The evaluator did not come to an end of its own: it passed a limit, or its process died."""


@dataclass(frozen=True)
class Evaluation:
    """What an evaluator did with one submission."""

    exit_code: int
    """0 if it ended by itself without an error."""
    stdout: str
    """What it printed, which should be one JSON object."""
    message: str
    """Text of its error, or what it wrote to stderr."""
    error: tuple[str, ...] = ()
    """Names of the class of the exception that ended it, and of its base classes; empty if there was none."""
    raised: bool = False
    """Whether a `raise` or `assert` of the evaluator itself made the exception."""
    trace: str = ""
    """End of the traceback."""


@dataclass(frozen=True)
class Evaluator:
    """An evaluator with the files that it reads."""

    files: Mapping[str, Path | bytes] = field(hash=False)
    """Path relative to the evaluator's folder -> file on this machine, or content."""
    script: str
    """Path of the evaluator in `files`."""
    packages: tuple[str, ...]
    """Distributions that it may import."""
    time_limit_s: float
    """Wall-clock limit, in seconds."""
    memory_bytes: int
    """Limit of resident memory, in bytes."""


@dataclass(frozen=True)
class _Spec(TaskSpec):
    """The "task" of an evaluation: its public files are those of the evaluator, for one submission."""

    shown: Path = Path()

    @property
    def public_dir(self) -> Path:
        return self.shown


def evaluate(evaluator: Evaluator, submission: bytes) -> Evaluation:
    """Run `evaluator` on `submission` in a sandbox. May be called from several threads.

    Raises:
        SandboxUnavailableError: this machine cannot isolate evaluators.
        StoppedError: the evaluator passed a limit, or its process died.
        GradingError: the sandbox failed.
    """
    service = _service()
    with tempfile.TemporaryDirectory(prefix="evaluation-", dir=service.folder) as folder:
        shown = Path(folder) / "files"
        for name, content in evaluator.files.items():
            target = shown / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content) if isinstance(content, bytes) else shutil.copyfile(content, target)
        (shown / SUBMISSION).write_bytes(submission)
        code = _INSIDE.read_text(encoding="utf-8")
        for name, value in (("evaluator", evaluator.script), ("submission", SUBMISSION)):
            code = code.replace(f'"@{name}@"', repr(value))
        spec = _Spec(
            id="evaluator",
            title="",
            description="",
            folder=service.folder,  # the same for all: a sandbox decides once per folder what is hidden
            metric="",
            direction="maximize",
            id_column=None,
            prediction_columns=(),
            packages=evaluator.packages,
            shown=shown,
        )
        limits = Limits(
            wall_s=evaluator.time_limit_s, memory_bytes=evaluator.memory_bytes, submission_bytes=4 * 1024**2
        )
        try:
            execution = service.run(code, spec, limits)
        except SandboxUnavailableError as error:
            fix = f"set {ISOLATION}=none to run evaluators that you trust without isolation"
            raise SandboxUnavailableError(f"evaluators need a sandbox on this machine ({fix}): {error}") from error
        except SandboxError as error:
            raise GradingError(f"the sandbox of the evaluator failed: {error}") from error
    return _read(execution)


def _read(execution: Execution) -> Evaluation:
    if execution.status != "ok" or execution.submission is None:
        end = execution.stderr.strip()[-500:] or execution.submission_reason or "it left no report"
        raise StoppedError(f"the evaluator ended with the status {execution.status!r}: {end}")
    try:
        report: dict[str, Any] = json.loads(execution.submission)
        return Evaluation(
            exit_code=int(report["exit"]),
            stdout=str(report["stdout"]),
            message=str(report["message"]),
            error=tuple(map(str, report["error"] or ())),
            raised=bool(report["raised"]),
            trace=str(report.get("trace", "")),
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise GradingError(f"the evaluator's report cannot be read: {error}") from error


class _Service:
    """A sandbox in an event loop of its own, for callers in any thread."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.folder = Path(tempfile.mkdtemp(prefix="trl-mle-evaluators-")).resolve()
        self._loop = asyncio.new_event_loop()
        self._sandbox: LocalSandbox | None = None
        self._starting = threading.Lock()
        threading.Thread(target=self._loop.run_forever, name="evaluators", daemon=True).start()

    def run(self, code: str, spec: TaskSpec, limits: Limits) -> Execution:
        """Run `code` with the public files of `spec`. A fault of the sandbox is tried again once: an evaluation has no effects."""
        try:
            return self._run(code, spec, limits)
        except SandboxUnavailableError:
            raise
        except SandboxError:
            return self._run(code, spec, limits)

    def _run(self, code: str, spec: TaskSpec, limits: Limits) -> Execution:
        return self._wait(asyncio.run_coroutine_threadsafe(self._started().run(code, spec, limits), self._loop))

    def _started(self) -> LocalSandbox:
        from trl_mle.config import SandboxConfig, usable_cores
        from trl_mle.sandboxes.local.sandbox import LocalSandbox

        with self._starting:
            if self._sandbox is None:
                trusted = os.environ.get(ISOLATION) == "none"
                config = SandboxConfig(
                    workers=min(MOST_WORKERS, usable_cores()), isolation="none" if trusted else "required"
                )
                sandbox = LocalSandbox(config)
                self._wait(asyncio.run_coroutine_threadsafe(sandbox.__aenter__(), self._loop))
                self._sandbox = sandbox
            return self._sandbox

    @staticmethod
    def _wait(future: Future[Any]) -> Any:
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def at_exit(self) -> None:
        """Remove what is on disk. The workers end with this process, and remove what is theirs."""
        if self.pid == os.getpid():
            shutil.rmtree(self.folder, ignore_errors=True)

    def close(self) -> None:
        """End the workers and remove what is on disk."""
        if self.pid != os.getpid():  # a fork has neither the thread nor the workers
            return
        sandbox, self._sandbox = self._sandbox, None
        if sandbox is not None:
            self._wait(asyncio.run_coroutine_threadsafe(sandbox.__aexit__(None, None, None), self._loop))
        self._loop.call_soon_threadsafe(self._loop.stop)
        shutil.rmtree(self.folder, ignore_errors=True)


_current: _Service | None = None
_lock = threading.Lock()


def _service() -> _Service:
    """The service of this process. A fork starts one of its own."""
    global _current
    with _lock:
        if _current is None or _current.pid != os.getpid():
            _current = _Service()
            atexit.register(_current.at_exit)
        return _current


def close_evaluators() -> None:
    """End the workers of this process that run evaluators. The next evaluation starts new ones."""
    global _current
    with _lock:
        service, _current = _current, None
    if service is not None:
        atexit.unregister(service.at_exit)
        service.close()
