"""Frames: how the messages of `protocol` travel over a socket or lie in a file.

A frame is a header (size of the body, size of all blobs), a body in JSON, and blobs:

    header   body                                                          blobs
    >QQ      {"message": {"type": "ProgramResult", ...}, "blobs": [5, 0]}  stdout, stderr

A field of type `bytes` travels as a blob, one of type `dict[str, bytes]` as one blob per key. A frame with an unknown message, an
unknown or missing field, or a value of another type is a `FrameError`.
"""

from __future__ import annotations

import dataclasses
import json
import socket
import struct
import typing
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, overload

from .protocol import Layers, Message

HEADER = struct.Struct(">QQ")
"""Size of the body and size of all blobs together, in bytes."""

_PIECE_BYTES = 1 << 20


class FrameError(Exception):
    """A frame that is not whole, or whose message is not of the protocol."""


_First = TypeVar("_First", bound=Message)
_Second = TypeVar("_Second", bound=Message)
_Third = TypeVar("_Third", bound=Message)


@overload
def expect(message: Message, first: type[_First], /) -> _First: ...
@overload
def expect(message: Message, first: type[_First], second: type[_Second], /) -> _First | _Second: ...
@overload
def expect(
    message: Message, first: type[_First], second: type[_Second], third: type[_Third], /
) -> _First | _Second | _Third: ...
def expect(message: Message, *kinds: type[Message]) -> Message:
    """`message`, which must be of one of `kinds`.

    Raises:
        FrameError: it is another message.
    """
    if not isinstance(message, kinds):
        names = " or ".join(kind.__name__ for kind in kinds)
        raise FrameError(f"the message is `{type(message).__name__}`; expected {names}")
    return message


def pack(message: Message) -> bytes:
    """`message` as one frame."""
    return b"".join(_parts(message))


def unpack(frame: bytes) -> Message:
    """The message of one whole frame.

    Raises:
        FrameError: the frame is not whole, or its message is not of the protocol.
    """
    body_bytes, blob_bytes = sizes(frame[: HEADER.size])
    if len(frame) != HEADER.size + body_bytes + blob_bytes:
        raise FrameError(f"the frame has {len(frame)} bytes, its header says otherwise")
    end = HEADER.size + body_bytes
    return decode(frame[HEADER.size : end], frame[end:])


def sizes(header: bytes) -> tuple[int, int]:
    """Bytes of the body and of all blobs, from the first `HEADER.size` bytes of a frame."""
    if len(header) != HEADER.size:
        raise FrameError(f"the header of a frame has {len(header)} bytes; expected {HEADER.size}")
    return HEADER.unpack(header)


def send(sock: socket.socket, message: Message) -> None:
    """Send `message` over a blocking socket."""
    for part in _parts(message):
        sock.sendall(part)


def receive(sock: socket.socket) -> Message | None:
    """The next message from a blocking socket, or `None` if the other side has closed it.

    Nothing beyond the message is read: the next one may be for another process.
    """
    header = _read_exactly(sock, HEADER.size)
    if header is None:
        return None
    body_bytes, blob_bytes = sizes(header)
    body = _read_exactly(sock, body_bytes)
    blobs = None if body is None else _read_exactly(sock, blob_bytes)
    return None if body is None or blobs is None else decode(body, blobs)


def to_json(message: Message) -> str:
    """`message`, which has no blobs, as one line of ASCII."""
    return json.dumps(_to_plain(message, []))


def from_json(line: str | bytes) -> Message:
    """The message that `to_json` made a line of.

    Raises:
        FrameError: the line is not a message of the protocol.
    """
    try:
        return _to_message(json.loads(line), [])
    except ValueError as error:
        raise FrameError(f"the line is not JSON: {error}") from error


def _parts(message: Message) -> list[bytes]:
    """Header and body, then the blobs: a large submission is not copied once more."""
    blobs: list[bytes] = []
    plain = _to_plain(message, blobs)
    body = json.dumps({"message": plain, "blobs": [len(blob) for blob in blobs]}).encode("ascii")
    return [HEADER.pack(len(body), sum(map(len, blobs))) + body, *blobs]


def decode(body: bytes, payload: bytes) -> Message:
    """The message of a frame with `body`, whose blobs are joined in `payload`.

    Raises:
        FrameError: it is not a message of the protocol.
    """
    try:
        plain = json.loads(body)
    except ValueError as error:
        raise FrameError(f"the body of a frame is not JSON: {error}") from error
    lengths = plain.get("blobs") if isinstance(plain, dict) and plain.keys() == {"message", "blobs"} else None
    if not isinstance(lengths, list) or not all(isinstance(size, int) and size >= 0 for size in lengths):
        raise FrameError("the body of a frame must hold `message` and `blobs`, the sizes of the blobs")
    if sum(lengths) != len(payload):
        raise FrameError(f"the blobs of a frame have {len(payload)} bytes; its body says {sum(lengths)}")
    blobs, start = [], 0
    for size in lengths:
        blobs.append(payload[start : start + size])
        start += size
    return _to_message(plain["message"], blobs)


def _to_plain(value: Any, blobs: list[bytes]) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: _to_plain(getattr(value, field.name), blobs) for field in dataclasses.fields(value)}
        return {"type": type(value).__name__, **fields}
    if isinstance(value, bytes):
        blobs.append(value)
        return {"blob": len(blobs) - 1}
    if isinstance(value, dict):
        return {name: _to_plain(content, blobs) for name, content in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _to_message(plain: Any, blobs: list[bytes]) -> Message:
    name = plain.get("type") if isinstance(plain, dict) else None
    kind = _KINDS.get(name) if isinstance(name, str) else None
    if kind is None or not issubclass(kind, Message):
        raise FrameError(f"unknown message {name!r}")
    message: Message = _to_record(plain, kind, blobs)
    return message


def _to_record(plain: dict[str, Any], kind: type, blobs: list[bytes]) -> Any:
    hints = _HINTS[kind]
    # Strict in both directions: host, worker and guest always have the same version.
    names = plain.keys() - {"type"}
    if names != hints.keys():
        missing, unknown = sorted(hints.keys() - names), sorted(names - hints.keys())
        raise FrameError(f"`{kind.__name__}` lacks the fields {missing} and has the unknown fields {unknown}")
    return kind(**{name: _to_value(plain[name], hint, blobs, name) for name, hint in hints.items()})


def _to_value(plain: Any, hint: Any, blobs: list[bytes], name: str) -> Any:
    """`plain` as a value of the type `hint`."""
    for option in get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,):
        if option in _HINTS:
            if isinstance(plain, dict) and plain.get("type") == option.__name__:
                return _to_record(plain, option, blobs)
        elif option is bytes:
            if isinstance(plain, dict) and plain.keys() == {"blob"} and plain["blob"] in range(len(blobs)):
                return blobs[plain["blob"]]
        elif get_origin(option) is dict:
            if isinstance(plain, dict):
                return {key: _to_value(content, bytes, blobs, name) for key, content in plain.items()}
        elif get_origin(option) is Literal:
            if plain in get_args(option):
                return plain
        elif get_origin(option) is tuple:
            if isinstance(plain, list) and all(isinstance(item, str) for item in plain):
                return tuple(plain)
        # A `bool` is an `int` in Python, but not in a message.
        elif isinstance(plain, _PLAIN[option]) and isinstance(plain, bool) == (option is bool):
            return plain
    raise FrameError(f"the field `{name}` is of type `{type(plain).__name__}`; expected {hint}")


_PLAIN: dict[Any, Any] = {str: str, bool: bool, int: int, float: (int, float), NoneType: NoneType}
# Once for all messages, before any fork.
_CLASSES: list[type] = [Layers, *Message.__subclasses__()]
_KINDS: dict[str, type] = {kind.__name__: kind for kind in _CLASSES}
_HINTS: dict[type, dict[str, Any]] = {kind: typing.get_type_hints(kind) for kind in _KINDS.values()}


def _read_exactly(sock: socket.socket, size: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < size:
        part = sock.recv(min(size - len(parts), _PIECE_BYTES))
        if not part:
            return None
        parts += part
    return bytes(parts)
