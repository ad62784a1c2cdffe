"""What the hostile programs have in common: how one is run, with the sandbox and without it, and what is left of it."""

from __future__ import annotations

import asyncio
import ctypes
import os
import platform
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.hang import HANG_S
from trl_mle.sandboxes import LocalSandbox
from trl_mle.sandboxes.modes import Mode
from trl_mle.types import Execution, Limits, TaskSpec

TAG = f"attack-{secrets.token_hex(6)}"
"""Part of every name that a hostile program gives to something; what holds it afterwards is a trace."""
SECRET = f"the-answers-{secrets.token_hex(8)}"
"""Content of the answers file of this run."""
KEY = 0x7A000000 + secrets.randbelow(1 << 20)
"""Key of every System V object that a program makes."""
AS_USER = "TRL_MLE_ATTACKS_AS_USER"
"""Environment variable that is set in the run as an ordinary user."""

LIMITS = Limits(
    wall_s=60,
    memory_bytes=256 * 1024**2,
    file_bytes=4 * 1024**2,
    work_bytes=32 * 1024**2,
    output_bytes=64 * 1024,
)

_ATTEMPT = """\
def attempt(action):
    try:
        print("GOT", action(), flush=True)
    except BaseException as error:
        print("REFUSED", type(error).__name__, error, flush=True)
"""

CALL = """\
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
def call(number, *arguments):
    return checked(libc.syscall(*(ctypes.c_long(a) if isinstance(a, int) else a for a in (number, *arguments))))
"""
"""Defines `call`, a system call by number, and `checked`, the result of a function of `libc`; both raise `OSError`."""


MEMORY = """
found = looked = 0
with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", buffering=0) as memory:
    for line in maps.readlines():
        place, rights, *_ = line.split()
        low, high = (int(part, 16) for part in place.split("-"))
        if "r" not in rights or "[v" in line:
            continue
        tail = b""
        for start in range(low, high, 1 << 20):
            try:
                memory.seek(start)
                part = memory.read(min(1 << 20, high - start))
            except (OSError, ValueError):
                break
            looked += len(part)
            part = tail + part
            at = part.find(first)
            while at >= 0:
                found += part[at + len(first) : at + len(first) + len(second)][::-1] == second
                at = part.find(first, at + 1)
            tail = part[-200:]
print("GOT", found, looked)
"""
"""Counts the places in this process's memory that hold `first` followed by `second` read backwards. The program itself
never holds the two side by side."""


def halves(text: str) -> dict[str, object]:
    middle = len(text) // 2
    return {"first": text[:middle].encode(), "second": text[middle:].encode()[::-1]}


def places(stdout: str) -> int:
    """The number of places that a program with `MEMORY` has found; it did look."""
    found, looked = (int(word) for word in stdout.split()[-2:])
    assert looked > 1_000_000
    return found


def with_values(code: str, values: Mapping[str, object]) -> str:
    """`code` that knows `values`, and a function that attempts an action and prints `GOT` or `REFUSED`."""
    return _ATTEMPT + "".join(f"{name} = {value!r}\n" for name, value in values.items()) + code


@dataclass(frozen=True)
class Box:
    """A running sandbox with one worker."""

    sandbox: LocalSandbox
    runner: asyncio.Runner
    task: TaskSpec
    mode: Mode

    @property
    def fall_back(self) -> bool:
        """Whether namespaces are treated as missing."""
        return "namespaces" in self.mode.without

    def skip_if_documented(self, gap: str) -> None:
        """Skip an attack that this mode is known not to hold back: only what `modes.GAPS` tells users may be skipped."""
        text = self.mode.lacks(gap)
        if text is not None:
            pytest.skip(f"documented: {text}")

    def run(self, code: str, values: Mapping[str, object] | None = None, **limits: Any) -> Execution:
        """Run a hostile program to its end."""
        return self.runner.run(self.sandbox.run(with_values(code, values or {}), self.task, make_limits(limits)))

    def meanwhile(
        self, code: str, action: Any, values: Mapping[str, object] | None = None, **limits: Any
    ) -> tuple[Execution, Any]:
        """Run a hostile program, and meanwhile the function `action` in another thread; both results.

        `action` gets an event that is set when the program has ended.
        """

        async def both() -> tuple[Execution, Any]:
            over = threading.Event()
            beside = asyncio.create_task(asyncio.to_thread(action, over))
            try:
                execution = await self.sandbox.run(with_values(code, values or {}), self.task, make_limits(limits))
            finally:
                over.set()
            return execution, await beside

        return self.runner.run(both())

    def is_well(self) -> None:
        """Assert that the next program runs as if nothing had happened."""
        execution = self.run("print(6 * 7)")
        assert (execution.status, execution.stdout, execution.stderr) == ("ok", "42\n", "")


def processes() -> int:
    """How many processes this one has below it."""
    return len(psutil.Process().children(recursive=True))


def settles_at(number: int) -> bool:
    """Whether there are soon no more processes than `number`: what supervised a program ends after it has replied."""
    end = time.monotonic() + HANG_S
    while processes() > number:
        if time.monotonic() > end:
            return False
        time.sleep(0.002)
    return True


def make_limits(changes: Mapping[str, Any]) -> Limits:
    return Limits(**{**LIMITS.__dict__, **changes})


@dataclass(frozen=True)
class Finished:
    stdout: str
    stderr: str
    code: int

    @property
    def succeeded(self) -> bool:
        """Whether every attempt of the program did."""
        return "GOT" in self.stdout and "REFUSED" not in self.stdout


@dataclass
class Control:
    """Runs the same hostile program without the sandbox: only what works there proves anything inside.

    The same program is run once, and its result is given again.
    """

    folder: Path
    public: Path
    _known: dict[str, Finished] = field(default_factory=dict)

    def __call__(
        self,
        code: str,
        values: Mapping[str, object] | None = None,
        stdin: str | os.PathLike[str] = os.devnull,
        site: bool = False,
    ) -> Finished:
        key = repr((code, values, str(stdin), site))
        if key not in self._known:
            self._known[key] = self._run(with_values(code, values or {}), stdin, site)
        return self._known[key]

    def _run(self, code: str, stdin: str | os.PathLike[str], site: bool) -> Finished:
        work = self.folder / str(len(self._known))
        work.mkdir()
        (work / "input").symlink_to(self.public)
        (work / "main.py").write_text(code)
        with open(stdin, "rb") as source:
            process = subprocess.Popen(
                [sys.executable, *([] if site else ["-S"]), "-B", "main.py"],
                cwd=work,
                stdin=source,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                close_fds=False,
                start_new_session=True,
            )
        try:
            stdout, stderr = process.communicate(timeout=2 * HANG_S)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        return Finished(stdout, stderr, process.returncode)


def traces(scratch: Path) -> list[str]:
    """What is left of the programs anywhere on the machine, in words."""
    return [*_processes(scratch), *_files(scratch), *_in_the_kernel()]


def _processes(scratch: Path) -> Iterator[str]:
    for process in psutil.Process().children(recursive=True):
        yield f"child process {process.pid}: {_words(process)}"
    marks = (TAG.encode(), os.fsencode(scratch))
    for folder in Path("/proc").glob("[0-9]*"):
        if int(folder.name) in (os.getpid(), os.getppid()) or (AS_USER in os.environ and _above(int(folder.name))):
            continue
        for name in ("cmdline", "environ", "comm"):
            with suppress(OSError):
                if any(mark in (folder / name).read_bytes() for mark in marks):
                    yield f"process {folder.name} has a mark in its {name}"
        with suppress(OSError):
            if os.fsencode(os.readlink(folder / "cwd")).startswith(marks[1]):
                yield f"process {folder.name} works in the scratch folder"


def _above(pid: int) -> bool:
    return any(parent.pid == pid for parent in psutil.Process().parents())


def _words(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return f"{process.status()} {process.cmdline()}"
    return "gone"


def _files(scratch: Path) -> Iterator[str]:
    yield from (f"in the scratch folder: {path}" for path in scratch.iterdir())
    places = {"/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue", "/run", "/", str(Path.home()), tempfile.gettempdir()}
    for place in sorted(places | {sys.prefix, str(Path(sys.executable).parent)}):
        with suppress(OSError):
            yield from (f"{place}/{name}" for name in os.listdir(place) if TAG in name)


def _in_the_kernel() -> Iterator[str]:
    for kind, remove in (("shm", 31), ("msg", 71), ("sem", 66)):
        with suppress(OSError):
            for line in Path(f"/proc/sysvipc/{kind}").read_text().splitlines()[1:]:
                key, number = (int(word) for word in line.split()[:2])
                if key & 0xFFFFFFFF == KEY:
                    _call(remove, number, 0, 0, 0)  # found once is enough
                    yield f"System V {kind}: {line}"
    with suppress(OSError):
        for line in Path("/proc/keys").read_text().splitlines():
            if TAG in line:
                _call(250, 9, int(line.split()[0], 16), -4)
                yield f"key: {line}"


def _call(*arguments: int) -> None:
    if platform.machine() == "x86_64":
        ctypes.CDLL(None).syscall(*map(ctypes.c_long, arguments))
