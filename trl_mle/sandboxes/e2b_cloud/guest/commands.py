"""The commands that the host sends to a virtual machine."""

from __future__ import annotations

import os
import select
import socket
import sys
import tarfile
import time
import traceback
from typing import NoReturn

from guest import serve
from runner import frames
from runner.protocol import GuestReady, GuestSettings, ProgramFault, WorkerReady, WorkerUnusable

_LOOP = 1_000_000
_LOOPS = 3


def main(command: str, *arguments: str) -> int:
    """Run one of the commands and return its exit code."""
    return {"prepare": prepare, "unpack": unpack, "run": run}[command](*arguments)


def prepare(folder: str, settings: str) -> int:
    """Measure the virtual machine, start the process that serves programs, and print `GuestReady` as one line.

    Args:
        folder (`str`): where everything of this package lies.
        settings (`str`): a `GuestSettings` as a line.
    """
    loop_s = min(_loop_s() for _ in range(_LOOPS))
    chosen = frames.expect(frames.from_json(settings), GuestSettings)
    os.chmod(folder, 0o700)
    reads, writes = os.pipe()
    pid = os.fork()
    if pid == 0:
        _leave(folder, chosen, reads, writes)
    os.close(writes)
    os.waitpid(pid, 0)
    ready = GuestReady(
        python=".".join(map(str, sys.version_info[:3])),
        loop_s=loop_s,
        cores=os.cpu_count() or 1,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        answer=_answer(reads, time.monotonic() + chosen.startup_s),
    )
    print(frames.to_json(ready))  # noqa: T201 - this is how it answers
    return 0


def _answer(reads: int, deadline: float) -> WorkerReady | WorkerUnusable | ProgramFault:
    """What the process that serves programs writes once it can begin."""
    line = b""
    while not line.endswith(b"\n"):
        if not select.select([reads], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return _not_started("the process that runs programs was not ready in time")
        data = os.read(reads, 1 << 16)
        if not data:
            return _not_started("the process that runs programs has ended")
        line += data
    return frames.expect(frames.from_json(line), WorkerReady, WorkerUnusable, ProgramFault)


def _not_started(reason: str) -> ProgramFault:
    return ProgramFault(reason, may_have_started=False, lasting=False)


def unpack(archive: str, folder: str) -> int:
    """Unpack the public files of `archive` into `folder`, readable for all and writable for nobody."""
    with tarfile.open(archive) as tar:
        tar.extraction_filter = getattr(tarfile, "data_filter", None)  # Python before 3.11.4 has none
        tar.extractall(f"{folder}.part")
    os.unlink(archive)
    for here, folders, files in os.walk(f"{folder}.part", topdown=False):
        for name in (*folders, *files):
            path = os.path.join(here, name)
            if not os.path.islink(path):
                os.chmod(path, 0o555 if name in folders else 0o444)
    os.chmod(f"{folder}.part", 0o755)  # root of the folder last: it is renamed
    os.rename(f"{folder}.part", folder)
    os.chmod(folder, 0o555)
    return 0


def run(folder: str, run_folder: str) -> int:
    """Ask for the program in `run_folder`, and wait until its reply lies there."""
    client = socket.socket(socket.AF_UNIX)
    client.connect(os.path.join(folder, serve.SOCKET))
    client.sendall(os.fsencode(run_folder) + b"\n")
    return 0 if client.recv(1) == serve.DONE else serve.NO_REPLY


def _loop_s() -> float:
    """CPU seconds of a fixed loop."""
    began = time.process_time()
    total = 0
    for number in range(_LOOP):
        total += number & 3
    return time.process_time() - began


def _leave(folder: str, settings: GuestSettings, reads: int, writes: int) -> NoReturn:
    """Become the process that serves programs, which outlives the command."""
    try:
        os.close(reads)
        os.setsid()
        if os.fork() == 0:
            null = os.open(os.devnull, os.O_RDONLY)
            log = os.open(os.path.join(folder, "log"), os.O_WRONLY | os.O_CREAT, 0o600)
            for descriptor, standard in ((null, 0), (log, 1), (log, 2)):
                os.dup2(descriptor, standard)
            os.chdir("/")
            serve.serve(folder, settings, writes)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)
