"""A loopback HTTP server that speaks OpenAI's chat completions, with faults to order."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Reply = Callable[[BaseHTTPRequestHandler], None]


def completion(text, finish_reason="stop", **changes) -> Reply:
    """A right answer."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}
    content = {"id": "c", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], **changes}
    return body(json.dumps(content).encode())


def body(content: bytes, status: int = 200, **headers: str) -> Reply:
    """Any response."""

    def reply(handler):
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(content)

    return reply


def status(code: int, **headers: str) -> Reply:
    """An error."""
    return body(json.dumps({"error": {"message": f"error {code}", "type": "x"}}).encode(), code, **headers)


def reset(handler) -> None:
    """The connection breaks before a byte is sent."""
    _break(handler)


def broken_body(handler) -> None:
    """The connection breaks in the middle of the body."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [')
    handler.wfile.flush()
    _break(handler)


def _break(handler) -> None:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # an RST, not a FIN
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


class Server:
    """Answers with `replies` one after another, the last one for ever; `requests` holds what was asked."""

    def __init__(self):
        self.replies: list[Reply] = []
        self.requests: list[dict] = []
        self.keys: list[str | None] = []
        self.stopping = threading.Event()
        self._lock = threading.Lock()

    def hang(self, handler) -> None:
        """No answer until the test is over."""
        self.stopping.wait(30)

    def next(self, handler) -> None:
        length = int(handler.headers["Content-Length"])
        request = json.loads(handler.rfile.read(length))
        with self._lock:
            assert handler.path == "/v1/chat/completions"
            self.requests.append(request)
            self.keys.append(handler.headers.get("Authorization"))
            reply = self.replies[min(len(self.requests), len(self.replies)) - 1]
        reply(handler)


@contextmanager
def serve(*replies: Reply) -> Iterator[tuple[str, Server]]:
    """(Base URL, server)."""
    server = Server()
    server.replies = list(replies)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            server.next(self)

        def log_message(self, *args):
            return None

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request, client_address):
            return None  # clients that went away, connections that broke on purpose

    http = Quiet(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_address[1]}/v1", server
    finally:
        server.stopping.set()
        http.shutdown()
        http.server_close()
        thread.join()
