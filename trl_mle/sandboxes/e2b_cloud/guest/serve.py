"""The process that keeps a worker warm and writes the replies of its programs. It ends with the machine's session."""

from __future__ import annotations

import json
import os
import select
import shutil
import socket
import subprocess
import sys
import time
from contextlib import suppress
from typing import Any

from runner import protocol, worker_command
from runner.limits import workdir
from runner.limits.proc import kill_tree

SOCKET = "socket"
REQUEST, REPLY = "request", "reply"
DONE = b"+"
NO_REPLY = 3
"""Exit code of a command `run` that was told of no reply."""
_STOP_S = 15.0
_LOOK_S = 5.0


class FaultError(Exception):
    """No reply of a program; why."""

    def __init__(self, words: str, *, began: bool, lasting: bool = False):
        super().__init__(words)
        self.began = began
        """Whether the program may have begun."""
        self.lasting = lasting


class NobodyWaitsError(Exception):
    """Who asked for the program is gone."""


def serve(folder: str, settings: dict[str, Any], ready: int) -> None:
    """Serve until the session is over or the folder is gone; writes one line of JSON to `ready` when it can begin.

    Args:
        folder (`str`): where everything of this package lies; only the own user may enter it.
        settings (`dict`): `preload`, `without`, `startup_s`, `session_s`.
        ready (`int`): a descriptor.
    """
    ends_at = time.monotonic() + settings["session_s"]
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.path.join(folder, SOCKET))
    listener.listen(8)
    listener.settimeout(_LOOK_S)
    worker: _Worker | None = None
    try:
        try:
            worker = _Worker(folder, settings)
            answer: dict[str, Any] = {"layers": worker.layers}
        except FaultError as error:
            answer = {"unusable" if error.lasting else "fault": str(error)}
        os.write(ready, json.dumps(answer).encode("ascii") + b"\n")
        os.close(ready)
        while worker is not None and time.monotonic() < ends_at and os.path.isdir(folder):
            with suppress(TimeoutError):
                client = listener.accept()[0]
                client.setblocking(True)
                with client, suppress(ConnectionError, NobodyWaitsError):
                    worker = _serve_one(client, folder, settings, worker)
    finally:
        if worker is not None:
            worker.stop()


def _serve_one(client: socket.socket, folder: str, settings: dict[str, Any], worker: _Worker) -> _Worker:
    """Run the program that `client` names; the worker for the next one."""
    run_folder = os.fsdecode(client.makefile("rb").readline().strip())
    for entry in os.scandir(folder):
        if entry.name.startswith("run-") and entry.path != run_folder:
            shutil.rmtree(entry.path, ignore_errors=True)  # of earlier programs, whose replies have been fetched
    request_file = os.path.join(run_folder, REQUEST)
    with open(request_file, "rb") as file:
        request = json.load(file)
    os.unlink(request_file)
    blobs: tuple[bytes, ...] = ()
    answer: dict[str, Any] = {"secret": request["secret"]}
    keep = False
    try:
        if not worker.alive:
            worker.stop()
            layers = worker.layers
            worker = _Worker(folder, settings)
            if worker.layers != layers:
                raise FaultError("a new worker has found other layers of isolation", began=False)
        answer["reply"], blobs = worker.ask(client, request["messages"], request["timeout_s"])
        keep = answer["reply"].get("lasting", True)
    except FaultError as error:
        answer["reply"] = {"fault": str(error), "lasting": error.lasting, "began": error.began}
    except OSError as error:  # no more processes, no more space
        answer["reply"] = {"fault": f"a program could not be run: {error}", "lasting": False, "began": True}
    finally:
        if not keep:
            worker.stop()  # whatever it was, the next program gets a new worker
    _write(run_folder, answer, blobs)
    client.sendall(DONE)
    return worker


def _write(run_folder: str, answer: dict[str, Any], blobs: tuple[bytes, ...]) -> None:
    """The reply appears all at once."""
    path = os.path.join(run_folder, REPLY)
    with open(f"{path}.part", "wb") as file:
        file.write(protocol.pack(answer, blobs))
        for blob in blobs:
            file.write(blob)
    os.rename(f"{path}.part", path)


class _Worker:
    """A worker of `runner` from its host's side."""

    _number = 0

    def __init__(self, folder: str, settings: dict[str, Any]):
        _Worker._number += 1
        self.folder = os.path.join(folder, f"worker-{_Worker._number}")
        self.layers: dict[str, Any] = {}
        os.mkdir(self.folder, 0o700)
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                worker_command.command(sys.executable, theirs.fileno()),
                stdin=subprocess.DEVNULL,
                env=worker_command.environment(self.folder),
                cwd="/",
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        try:
            chosen = {"preload": settings["preload"], "without": settings["without"], "in_memory": False}
            protocol.send(self._socket, {**chosen, "folder": self.folder, "host_pid": os.getpid()})
            self._socket.settimeout(settings["startup_s"])
            answer = protocol.receive(self._socket)
            if answer is None:
                raise FaultError("a worker ended before it was ready", began=False)
            if "unusable" in answer:
                raise FaultError(answer["unusable"], began=False, lasting=True)
            self.layers = answer["layers"]
        except BaseException as error:
            self.stop()
            if isinstance(error, OSError):
                raise FaultError(f"a worker was not ready: {error}", began=False) from error
            raise

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(
        self, client: socket.socket, messages: list[dict[str, Any]], timeout_s: float
    ) -> tuple[dict[str, Any], tuple[bytes, ...]]:
        """Send what makes one request together; the reply with its blobs.

        Raises:
            FaultError: there is none.
            NobodyWaitsError: `client`, which says nothing, has closed its end meanwhile.
        """
        try:
            for message in messages:
                protocol.send(self._socket, message)
            ready = select.select([self._socket, client], [], [], timeout_s)[0]
            if not ready:
                raise FaultError(f"a worker did not answer within {timeout_s:g} s", began=True)
            if client in ready and self._socket not in ready:
                raise NobodyWaitsError
            self._socket.settimeout(timeout_s)
            answer = protocol.receive_with_blobs(self._socket)
        except ConnectionError:
            answer = None
        if answer is None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_S)
            code = self._process.returncode
            raise FaultError(f"a worker ended with exit code {code}", began=code != protocol.NOT_TAKEN)
        return answer

    def stop(self) -> None:
        """End the worker with the program that it runs, and remove its folder."""
        with suppress(OSError):
            protocol.send(self._socket, {"stop": True})
        self._socket.close()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            kill_tree(self._process.pid)
            self._process.wait()
        with suppress(FileNotFoundError):
            workdir.remove(self.folder)
