"""A loopback server that speaks as E2B does: control plane, files and commands, with faults to order.

Each of its sandboxes is a folder that stands for the home of its user; commands really run there, as processes of this machine.
The SDK sends everything to one address, and names the sandbox in a header.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

KEY = "e2b_0123456789abcdef0123456789abcdef01234567"
ENVD = "0.6.7"
MARK = "TRL_MLE_TEST_MACHINE"
OF_THE_PROCESSOR = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
"""With another one, numerical libraries round differently, and a model that does not converge ends elsewhere."""
Fault = Callable[["Handler"], bool]
"""Does something to a request; whether it has answered it."""


def status(code: int, message: str = "", **headers: str) -> Fault:
    """An answer of the API, of a VM or of the proxy before it."""

    def fault(handler: Handler) -> bool:
        handler.answer(code, {"code": code, "message": message or f"error {code}"}, **headers)
        return True

    return fault


def gone(handler: Handler) -> bool:
    """The VM has been evicted: what the proxy answers from now on."""
    handler.server.evict(handler.vm_id)
    return handler.not_found()


def reset(handler: Handler) -> bool:
    """The connection breaks before a byte is sent."""
    handler.cut()
    return True


def hang(handler: Handler) -> bool:
    """No answer until the test is over."""
    handler.server.stopping.wait(60)
    handler.cut()
    return True


def lost_answer(handler: Handler) -> bool:
    """The request is obeyed, but the answer never arrives."""
    handler.mute = True
    return False


def created_but(code: int) -> Fault:
    """A VM is made, and the answer is an error."""

    def fault(handler: Handler) -> bool:
        handler.create()
        return status(code)(handler)

    return fault


def room_for(vms: int, message: str) -> Fault:
    """The account has room for so many VMs: 429 once they are there."""

    def fault(handler: Handler) -> bool:
        # Looked at and made under one lock: of two requests at the same time, one is the first.
        with handler.server.lock:
            if len(handler.server.vms) < vms:
                handler.create()  # the request itself asks for the same VM again, by its key
                return False
        return status(429, message)(handler)

    return fault


def slow(seconds: float) -> Fault:
    """The answer takes a while."""

    def fault(handler: Handler) -> bool:
        handler.server.stopping.wait(seconds)
        return False

    return fault


def evict_while_running(handler: Handler) -> bool:
    """The VM ends while the command runs, and the stream with it."""
    handler.while_running = lambda: handler.server.evict(handler.vm_id)
    return False


def reset_while_running(handler: Handler) -> bool:
    """The stream of the command breaks, and the command goes on."""
    handler.while_running = handler.cut
    return False


def silent_while_running(handler: Handler) -> bool:
    """The stream of the command says nothing any more, and the command goes on."""
    handler.while_running = lambda: handler.server.stopping.wait(60)
    return False


def kill_while_running(handler: Handler) -> bool:
    """The process that stands between VM and program is killed."""
    handler.while_running = lambda: os.kill(handler.child.pid, signal.SIGKILL)
    return False


def trickle(handler: Handler) -> bool:
    """The body of the answer arrives in small pieces."""
    handler.pause_s = 0.01
    return False


def endless(handler: Handler) -> bool:
    """The body of the answer does not end."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(1 << 40))
    handler.end_headers()
    with suppress(OSError):
        while not handler.server.stopping.is_set():
            handler.wfile.write(b"x" * (1 << 16))
    handler.close_connection = True
    return True


def cut_body(handler: Handler) -> bool:
    """The connection breaks in the middle of the body."""
    handler.cut_body = True
    return False


@dataclass
class FakeVM:
    """One sandbox of the server."""

    id: str
    home: Path
    metadata: dict[str, str]
    ends_at: float
    request: dict[str, Any]
    started: float = field(default_factory=time.time)
    uploads: list[tuple[str, bytes]] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)


class Server(ThreadingHTTPServer):
    """The server; `faults[step]` are used up one after the other. Steps: create, kill, list, write, read, start, health."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.vms: dict[str, FakeVM] = {}
        self.ended: list[FakeVM] = []
        self.faults: dict[str, list[Fault]] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.most_at_once = 0
        self.by_key: dict[str | None, FakeVM] = {}
        self.stopping = threading.Event()
        self.lock = threading.RLock()
        self.root = Path(tempfile.mkdtemp(prefix="e2b-server-"))
        self.root.chmod(0o711)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def order(self, step: str, *faults: Fault) -> None:
        """Have the next requests of `step` meet `faults`."""
        self.faults.setdefault(step, []).extend(faults)

    def next_fault(self, step: str) -> Fault | None:
        with self.lock:
            pending = self.faults.get(step)
            return pending.pop(0) if pending else None

    def create(self, request: dict[str, Any]) -> FakeVM:
        with self.lock:
            number = len(self.vms) + len(self.ended)
            home = self.root / f"home-{number}"
            home.mkdir(mode=0o755)
            vm = FakeVM(
                id=f"m{number}",
                home=home,
                metadata=request.get("metadata", {}),
                ends_at=time.time() + request.get("timeout", 300),
                request=request,
            )
            self.vms[vm.id] = vm
            self.most_at_once = max(self.most_at_once, len(self.vms))
            return vm

    def evict(self, vm_id: str) -> bool:
        """End a VM with all of its processes."""
        with self.lock:
            vm = self.vms.pop(vm_id, None)
            if vm is None:
                return False
            self.ended.append(vm)
        while pids := processes(vm):
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
        shutil.rmtree(vm.home, ignore_errors=True)
        return True

    def handle_error(self, request, client_address):
        return None  # clients that went away, connections that broke on purpose


def processes(vm: FakeVM) -> list[int]:
    """Those that a VM's commands have left, found by a variable that they inherit, or by where they are."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with suppress(OSError):
                state = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[0]
                variables = Path(f"/proc/{entry}/environ").read_bytes()
                home = os.fsencode(vm.home)
                inside = f"{MARK}={vm.home}\0".encode() in variables or b"=" + home + b"/" in variables
                if inside and state not in "ZX":
                    found.append(int(entry))
    return found


def interpreters(vm: FakeVM, module: str) -> list[int]:
    """Processes of the VM that run `module` (`runner`: the worker, `guest`: the process that serves)."""
    found = []
    for pid in processes(vm):
        with suppress(OSError):
            if f"/trl_mle/{module}".encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def kill(vm: FakeVM, module: str) -> None:
    """Kill the VM's interpreters that run `module`."""
    for pid in interpreters(vm, module):
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _reset_marks(self) -> None:
        self.mute = self.cut_body = False
        self.pause_s = 0.0
        self.while_running: Callable[[], object] | None = None
        self.child: subprocess.Popen[bytes]
        self.vm_id = self.headers.get("E2b-Sandbox-Id", "")

    def do_GET(self) -> None:
        self._handle("GET")

    def do_POST(self) -> None:
        self._handle("POST")

    def do_DELETE(self) -> None:
        self._handle("DELETE")

    def _handle(self, method: str) -> None:
        self._reset_marks()
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        self.server.requests.append((method, url.path, dict(self.headers.items())))
        body = self.body = self._body()
        parts = url.path.strip("/").split("/")
        try:
            if parts == ["v2", "sandboxes"]:
                self._control("create" if method == "POST" else "list", self._create if method == "POST" else self._list,
                              body, query)  # fmt: skip
            elif parts[0] == "sandboxes" and method == "DELETE":
                self.vm_id = parts[1]
                self._control("kill", self._kill, body, query)
            elif parts == ["health"]:
                self._inside("health", self._health, body, query)
            elif parts == ["files"]:
                self._inside("write" if method == "POST" else "read", self._write if method == "POST" else self._read,
                             body, query)  # fmt: skip
            elif parts == ["process.Process", "Start"]:
                self._inside("start", self._start, body, query)
            else:
                self.answer(404, {"code": 404, "message": f"{method} {url.path} is not part of this server"})
        except (BrokenPipeError, ConnectionError):
            self.close_connection = True

    def _control(self, step: str, action, body: bytes, query: dict[str, str]) -> None:
        if self.headers.get("X-API-KEY") != KEY:
            self.answer(401, {"code": 401, "message": f"no such key: {self.headers.get('X-API-KEY')}"})
            return
        fault = self.server.next_fault(step)
        if fault is None or not fault(self):
            action(body, query)

    def _inside(self, step: str, action, body: bytes, query: dict[str, str]) -> None:
        vm = self.server.vms.get(self.vm_id)
        if vm is not None and vm.ends_at < time.time():
            self.server.evict(vm.id)
            vm = None
        if vm is None:
            self.not_found()
        elif self.headers.get("X-Access-Token") != f"token-{vm.id}" and step != "health":
            self.answer(401, {"code": 401, "message": "wrong access token"})
        else:
            fault = self.server.next_fault(step)
            if fault is None or not fault(self):
                action(vm, body, query)

    def not_found(self) -> bool:
        message = {"sandboxId": self.vm_id, "message": "The sandbox was not found", "code": 502}
        self.answer(502, message)
        return True

    # Control plane

    def create(self) -> FakeVM:
        """The VM that is asked for: the same one where the same request comes again."""
        key = self.headers.get("Idempotency-Key")
        if key is None or key not in self.server.by_key:
            self.server.by_key[key] = self.server.create(json.loads(self.body))
        return self.server.by_key[key]

    def _create(self, body: bytes, query: dict[str, str]) -> None:
        vm = self.create()
        request = vm.request
        self.answer(
            201,
            {
                "templateID": request["templateID"],
                "sandboxID": vm.id,
                "clientID": "c",
                "envdVersion": ENVD,
                "envdAccessToken": f"token-{vm.id}",
                "domain": None,
            },
        )

    def _list(self, body: bytes, query: dict[str, str]) -> None:
        wanted = {unquote(k): unquote(v[0]) for k, v in parse_qs(query.get("metadata", "")).items()}
        with self.server.lock:
            found = [m for m in self.server.vms.values() if wanted.items() <= m.metadata.items()]
        self.answer(
            200,
            [
                {
                    **{"templateID": "t", "sandboxID": vm.id, "clientID": "c", "state": "running"},
                    **{"startedAt": "2026-01-01T00:00:00Z", "endAt": "2026-01-01T01:00:00Z", "envdVersion": ENVD},
                    **{"cpuCount": 2, "memoryMB": 1024, "diskSizeMB": 1024, "metadata": vm.metadata},
                }
                for vm in found
            ],
        )

    def _kill(self, body: bytes, query: dict[str, str]) -> None:
        if self.server.evict(self.vm_id):
            self.answer(204, None)
        else:
            self.answer(404, {"code": 404, "message": "no such sandbox"})

    # Inside of a VM

    def _health(self, vm: FakeVM, body: bytes, query: dict[str, str]) -> None:
        self.answer(204, None)

    def _path(self, vm: FakeVM, path: str) -> Path:
        full = (vm.home / path).resolve()
        if not full.is_relative_to(vm.home.resolve()):
            raise ValueError(f"{path} lies outside of the vm")
        return full

    def _write(self, vm: FakeVM, body: bytes, query: dict[str, str]) -> None:
        kind = self.headers.get("Content-Type", "")
        if kind.startswith("multipart/form-data"):
            message = BytesParser().parsebytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body)
            body = message.get_payload()[0].get_payload(decode=True)
        path = self._path(vm, query["path"])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        vm.uploads.append((query["path"], body))
        self.answer(200, [{"name": path.name, "type": "file", "path": str(path)}])

    def _read(self, vm: FakeVM, body: bytes, query: dict[str, str]) -> None:
        try:
            content = self._path(vm, query["path"]).read_bytes()
        except FileNotFoundError:
            self.answer(404, {"code": 404, "message": "no such file"})
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.cut_body:
            self.wfile.write(content[: len(content) // 2])
            self.wfile.flush()
            self.cut()
            return
        for start in range(0, len(content), 512 if self.pause_s else max(1, len(content))):
            piece = content[start : start + 512] if self.pause_s else content
            self.wfile.write(piece)
            self.wfile.flush()
            time.sleep(self.pause_s)

    def _start(self, vm: FakeVM, body: bytes, query: dict[str, str]) -> None:
        """A command: Connect's protocol for a stream from the server, as JSON."""
        process = json.loads(body[5:])["process"]
        command = [process["cmd"], *process.get("args", ())]
        vm.commands.append(command[-1])
        limit_s = int(self.headers.get("Connect-Timeout-Ms", 0)) / 1000
        child = self.child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=vm.home,
            env={
                **{"PATH": os.environ["PATH"], "HOME": str(vm.home), MARK: str(vm.home)},
                **{name: os.environ[name] for name in OF_THE_PROCESSOR if name in os.environ},
            },
            start_new_session=True,
        )
        timer = threading.Timer(limit_s or 3600, child.kill)
        timer.daemon = True
        timer.start()
        self.send_response(200)
        self.send_header("Content-Type", "application/connect+json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            self._event({"start": {"pid": child.pid}})
            if self.while_running is not None:
                time.sleep(0.2)
                self.while_running()
            threads = [
                threading.Thread(target=self._pump, args=(name, pipe), daemon=True)
                for name, pipe in (("stdout", child.stdout), ("stderr", child.stderr))
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            code = child.wait()
            if vm.id not in self.server.vms:
                self.cut()
                return
            self._event({"end": {"exitCode": code, "exited": code >= 0, "status": f"exit status {code}"}})
            self._frame(b"{}", end=True)
            self._chunk(b"")
        finally:
            timer.cancel()

    def _pump(self, name: str, pipe) -> None:
        with suppress(OSError):
            while data := os.read(pipe.fileno(), 1 << 16):
                self._event({"data": {name: base64.b64encode(data).decode()}})

    def _event(self, event: dict[str, Any]) -> None:
        self._frame(json.dumps({"event": event}).encode())

    def _frame(self, content: bytes, end: bool = False) -> None:
        self._chunk(struct.pack(">BI", 2 if end else 0, len(content)) + content)

    def _chunk(self, data: bytes) -> None:
        with self.server.lock:
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            self.wfile.flush()

    # HTTP

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            parts = bytearray()
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return bytes(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def answer(self, code: int, content: Any, **headers: str) -> None:
        if self.mute:
            self.cut()
            return
        body = b"" if content is None else json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        if code != 204:
            self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def cut(self) -> None:
        with suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # an RST
            self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def log_message(self, *args):
        return None


@contextmanager
def serve() -> Iterator[Server]:
    """A running server; all that it has started is gone afterwards."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stopping.set()
        server.shutdown()
        for vm_id in list(server.vms):
            server.evict(vm_id)
        server.server_close()
        thread.join()
        shutil.rmtree(server.root, ignore_errors=True)
