"""A server on the loopback that speaks OpenAI's chat completions and injects faults."""

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
    """Reply: a well-formed completion with `text`; `changes` replace fields of the response."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}
    content = {"id": "c", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], **changes}
    return body(json.dumps(content).encode())


def body(content: bytes, status: int = 200, **headers: str) -> Reply:
    """Reply: any response."""

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
    """Reply: an HTTP error."""
    return body(json.dumps({"error": {"message": f"error {code}", "type": "x"}}).encode(), code, **headers)


def reset(handler) -> None:
    """Reply: the connection breaks before a byte is sent."""
    _break(handler)


def broken_body(handler) -> None:
    """Reply: the connection breaks in the middle of the body."""
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
    """State of a server: it gives `replies` in order and repeats the last one; `requests` and `keys` record each request."""

    def __init__(self):
        self.replies: list[Reply] = []
        self.requests: list[dict] = []
        self.keys: list[str | None] = []
        self.stopping = threading.Event()
        self._lock = threading.Lock()

    def hang(self, handler) -> None:
        """Reply: no answer until the test is over."""
        self.stopping.wait()

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
    """Start a server with `replies`; yields its base URL and its state."""
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
            return None  # clients that have left and connections that broke on purpose are no news

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
