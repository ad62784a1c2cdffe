"""Pipes between the processes of one program: reports to the supervisor, and the program's output."""

from __future__ import annotations

import os

from .. import frames
from ..protocol import AllEnded, InitReady, ProgramEnded, ProgramStarted, Report, SetupFailed

_READ_BYTES, _READS = 1 << 16, 16
"""A pipe is read in pieces of this many bytes, this many at a time: together the most that a pipe can hold."""
_REASON_CHARACTERS = 650
"""Longest reason of a `SetupFailed`: JSON makes at most six characters of one, and PIPE_BUF is 4096 bytes."""


def report(descriptor: int, message: Report) -> None:
    """Write `message` as one line, short enough to be atomic."""
    if isinstance(message, SetupFailed):
        reason = message.reason.encode("ascii", "backslashreplace")[:_REASON_CHARACTERS]
        message = SetupFailed(reason.decode("ascii"))
    os.write(descriptor, frames.to_json(message).encode("ascii") + b"\n")


def keep_descriptors(*descriptors: int) -> None:
    """Close every descriptor from 3 on, except `descriptors`."""
    first = 3
    for descriptor in sorted(descriptors):
        os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, os.sysconf("SC_OPEN_MAX"))


class Reports:
    """The reports on one program so far.

    Args:
        descriptor (`int`): read end of the pipe, not blocking.
    """

    def __init__(self, descriptor: int):
        self.descriptor = descriptor
        self.init_ready = False
        self.started: ProgramStarted | None = None
        self.ended: ProgramEnded | None = None
        self.all_ended: AllEnded | None = None
        self.fault: str | None = None
        """Why the program could not be started."""
        self.closed = False
        """Whether every process that could report has ended."""
        self._unread = b""

    def read(self) -> bool:
        """Take in what the processes report; `False` once all of them have closed the pipe."""
        data = os.read(self.descriptor, _READ_BYTES)
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            self._take(frames.from_json(line))
        self.closed = not data
        return bool(data)

    def _take(self, message: object) -> None:
        if isinstance(message, InitReady):
            self.init_ready = True
        elif isinstance(message, ProgramStarted):
            self.started = message
        elif isinstance(message, ProgramEnded):
            self.ended = message
        elif isinstance(message, AllEnded):
            self.all_ended = message
        elif isinstance(message, SetupFailed):
            self.fault = message.reason
        else:
            raise frames.FrameError(f"`{type(message).__name__}` is not a report")


class CappedOutput:
    """Output of a program up to `most` bytes, and the number of bytes beyond."""

    def __init__(self, most: int):
        self.content = bytearray()
        self.cut = 0
        self._most = most

    def read(self, descriptor: int) -> bool:
        """Read what is there; `True` if the other end is closed."""
        for _ in range(_READS):
            try:
                data = os.read(descriptor, _READ_BYTES)
            except BlockingIOError:
                return False
            if not data:
                return True
            capacity = self._most - len(self.content)
            self.content += data[:capacity]
            self.cut += max(0, len(data) - capacity)
        return False

    def add_remark(self, remark: str) -> None:
        """Append a line of the sandbox, which does not count against the limit."""
        self.content += f"\n{remark}\n".encode()
