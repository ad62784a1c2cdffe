"""The guest process: it keeps a worker with preloaded libraries and writes the replies to programs.

It ends with the session of the virtual machine.
"""

from __future__ import annotations

import os
import select
import shutil
import socket
import subprocess
import sys
import time
from contextlib import suppress

from runner import frames, worker_command
from runner.limits import removal
from runner.limits.proc import kill_tree
from runner.protocol import (
    NOT_TAKEN,
    GuestReply,
    GuestRequest,
    GuestSettings,
    Layers,
    ProgramFault,
    ProgramResult,
    Reply,
    Stop,
    WorkerReady,
    WorkerSettings,
    WorkerUnusable,
)

SOCKET = "socket"
REQUEST, REPLY = "request", "reply"
DONE = b"+"
NO_REPLY = 3
"""Exit code of a command `run` that was told of no reply."""
_STOP_S = 15.0
_SPACE_S = 20.0
"""How long a reply waits for space on the disk, which what the program has left takes until it is removed, in seconds."""
_SPACE_LOOK_S = 0.1
_LOOK_S = 5.0
"""How often the end of the session is looked at, in seconds."""


class FaultError(Exception):
    """There is no reply to a program; `fault` says why."""

    def __init__(self, reason: str, *, may_have_started: bool, lasting: bool = False, process_died: bool = False):
        super().__init__(reason)
        self.fault = ProgramFault(reason, may_have_started, lasting, process_died)


class NobodyWaitsError(Exception):
    """The command that asked for the program is gone."""


def serve(folder: str, settings: GuestSettings, ready: int) -> None:
    """Serve until the session is over or the folder is gone.

    Writes one message as a line to `ready`: `WorkerReady` if programs can come, otherwise `WorkerUnusable` or `ProgramFault`.

    Args:
        folder (`str`): where everything of this package lies; only the own user may enter it.
        settings (`GuestSettings`): those of the host.
        ready (`int`): write end of a pipe.
    """
    ends_at = time.monotonic() + settings.session_s
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.path.join(folder, SOCKET))
    listener.listen(8)
    listener.settimeout(_LOOK_S)
    worker: _Worker | None = None
    answer: WorkerReady | WorkerUnusable | ProgramFault
    try:
        try:
            worker = _Worker(folder, settings)
            answer = WorkerReady(worker.layers)
        except FaultError as error:
            answer = WorkerUnusable(error.fault.reason) if error.fault.lasting else error.fault
        os.write(ready, frames.to_json(answer).encode("ascii") + b"\n")
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


def _serve_one(client: socket.socket, folder: str, settings: GuestSettings, worker: _Worker) -> _Worker:
    """Run the program that `client` names, and return the worker for the next one."""
    run_folder = os.fsdecode(client.makefile("rb").readline().strip())
    for entry in os.scandir(folder):
        if entry.name.startswith("run-") and entry.path != run_folder:
            shutil.rmtree(entry.path, ignore_errors=True)  # of earlier programs, whose replies have been fetched
    request_file = os.path.join(run_folder, REQUEST)
    with open(request_file, "rb") as file:
        request = frames.expect(frames.unpack(file.read()), GuestRequest)
    os.unlink(request_file)
    reply: Reply
    keep = False
    try:
        if not worker.alive:
            worker.stop()
            layers = worker.layers
            worker = _Worker(folder, settings)
            if worker.layers != layers:
                raise FaultError("a new worker has found other layers of isolation", may_have_started=False)
        reply = worker.ask(client, request)
        keep = isinstance(reply, ProgramResult) or reply.lasting
    except FaultError as error:
        reply = error.fault
    except OSError as error:  # no more processes, no more space
        reply = ProgramFault(f"a program could not be run: {error}", may_have_started=True, lasting=False)
    finally:
        if not keep:
            worker.stop()  # whatever the fault, the next program gets a new worker
    _write(run_folder, GuestReply(request.secret, reply))
    client.sendall(DONE)
    return worker


def _write(run_folder: str, reply: GuestReply) -> None:
    """Write the reply so that it appears all at once. A disk that the program has filled must not cost it."""
    path, frame = os.path.join(run_folder, REPLY), frames.pack(reply)
    deadline = time.monotonic() + _SPACE_S
    while True:
        try:
            with open(f"{path}.part", "wb") as file:
                file.write(frame)
            os.rename(f"{path}.part", path)
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_SPACE_LOOK_S)


class _Worker:
    """A worker of `runner` from its host's side."""

    _number = 0

    def __init__(self, folder: str, settings: GuestSettings):
        _Worker._number += 1
        self.folder = os.path.join(folder, f"worker-{_Worker._number}")
        self.layers = Layers()
        try:
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
        # No room on the disk, for processes or for descriptors: nobody has seen the program.
        except OSError as error:
            raise FaultError(f"a worker could not be started: {error}", may_have_started=False) from error
        try:
            # On disk: the memory of a virtual machine is small.
            chosen = WorkerSettings(self.folder, os.getpid(), settings.preload, settings.without, in_memory=False)
            frames.send(self._socket, chosen)
            self._socket.settimeout(settings.startup_s)
            message = frames.receive(self._socket)
            if message is None:
                raise FaultError("a worker ended before it was ready", may_have_started=False)
            answer = frames.expect(message, WorkerReady, WorkerUnusable)
            if isinstance(answer, WorkerUnusable):
                raise FaultError(answer.reason, may_have_started=False, lasting=True)
            self.layers = answer.layers
        except BaseException as error:
            self.stop()
            if isinstance(error, OSError):
                raise FaultError(f"a worker was not ready: {error}", may_have_started=False) from error
            raise

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, client: socket.socket, request: GuestRequest) -> Reply:
        """Have the worker run one program, and return its reply.

        Raises:
            FaultError: there is no reply.
            NobodyWaitsError: `client`, which says nothing, has closed its end meanwhile.
        """
        timeout_s = request.timeout_s
        try:
            for message in (request.files, request.program):
                frames.send(self._socket, message)
            ready = select.select([self._socket, client], [], [], timeout_s)[0]
            if not ready:
                reason = f"a worker did not answer within {timeout_s:g} s"
                raise FaultError(reason, may_have_started=True, process_died=True)
            if client in ready and self._socket not in ready:
                raise NobodyWaitsError
            self._socket.settimeout(timeout_s)
            answer = frames.receive(self._socket)
        except ConnectionError:
            answer = None
        if answer is None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_S)
            code = self._process.returncode
            started = code != NOT_TAKEN
            raise FaultError(f"a worker ended with exit code {code}", may_have_started=started, process_died=started)
        return frames.expect(answer, ProgramResult, ProgramFault)

    def stop(self) -> None:
        """End the worker with the program that it runs, and remove its folder."""
        with suppress(OSError):
            frames.send(self._socket, Stop())
        self._socket.close()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            kill_tree(self._process.pid)
            self._process.wait()
        with suppress(OSError):  # the worker has removed it, or the end of the virtual machine will
            removal.remove(self.folder)
