"""Length-prefixed JSON messages, each followed by raw blobs: what host and worker say to one another."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

LENGTH = struct.Struct(">Q")
NOT_TAKEN = 5
"""Exit code of a worker that ended before it took what the host may have sent meanwhile."""


def pack(message: dict[str, Any], blobs: tuple[bytes, ...] = ()) -> bytes:
    """`message` and the sizes of `blobs` as one frame; the blobs themselves follow it on the wire."""
    body = json.dumps({**message, "blobs": [len(blob) for blob in blobs]}).encode("ascii")
    return LENGTH.pack(len(body)) + body


def send(sock: socket.socket, message: dict[str, Any], *blobs: bytes) -> None:
    """Send one message over a blocking socket."""
    sock.sendall(pack(message, blobs))
    for blob in blobs:
        sock.sendall(blob)


def receive(sock: socket.socket) -> dict[str, Any] | None:
    """One message without blobs from a blocking socket, or `None` where the other side has closed it."""
    header = _exactly(sock, LENGTH.size)
    body = header and _exactly(sock, LENGTH.unpack(header)[0])
    return json.loads(body) if body else None


def receive_with_blobs(sock: socket.socket) -> tuple[dict[str, Any], tuple[bytes, ...]] | None:
    """One message and its blobs from a blocking socket, or `None` where the other side has closed it."""
    message = receive(sock)
    blobs = tuple(_exactly(sock, size) for size in message.pop("blobs")) if message else ()
    return None if message is None or None in blobs else (message, blobs)  # type: ignore[return-value]


def _exactly(sock: socket.socket, size: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < size:
        part = sock.recv(min(size - len(parts), 1 << 20))
        if not part:
            return None
        parts += part
    return bytes(parts)
