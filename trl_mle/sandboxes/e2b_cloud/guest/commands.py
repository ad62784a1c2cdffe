"""The commands that are sent to a machine."""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import tarfile
import time
import traceback
from typing import Any, NoReturn

from guest import serve

_LOOP = 1_000_000
_LOOPS = 3


def main(command: str, *arguments: str) -> int:
    """Run one of the commands; the exit code."""
    return {"prepare": prepare, "unpack": unpack, "run": run}[command](*arguments)


def prepare(folder: str, settings: str) -> int:
    """Measure the machine, start the process that serves programs, and print what is found as one line of JSON."""
    facts = {
        "python": ".".join(map(str, sys.version_info[:3])),
        "loop_s": min(_loop_s() for _ in range(_LOOPS)),
        "cores": os.cpu_count() or 1,
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }
    chosen = json.loads(settings)
    os.chmod(folder, 0o700)
    reads, writes = os.pipe()
    pid = os.fork()
    if pid == 0:
        _leave(folder, chosen, reads, writes)
    os.close(writes)
    os.waitpid(pid, 0)
    answer = b""
    deadline = time.monotonic() + chosen["startup_s"]
    while not answer.endswith(b"\n"):
        if not select.select([reads], [], [], max(0.0, deadline - time.monotonic()))[0]:
            answer = b'{"fault": "the process that runs programs was not ready in time"}\n'
        elif data := os.read(reads, 1 << 16):
            answer += data
        else:
            answer = b'{"fault": "the process that runs programs has ended"}\n'
    print(json.dumps({**facts, **json.loads(answer)}))  # noqa: T201 - this is how it answers
    return 0


def unpack(archive: str, folder: str) -> int:
    """Lay out the public files of `archive` in `folder`, for all to read and for nobody to write."""
    with tarfile.open(archive) as tar:
        tar.extractall(f"{folder}.part", filter="data")
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
    """Have the program in `run_folder` run, and wait until its reply lies there."""
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


def _leave(folder: str, settings: dict[str, Any], reads: int, writes: int) -> NoReturn:
    """Become a process that outlives the command; the one that serves."""
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
