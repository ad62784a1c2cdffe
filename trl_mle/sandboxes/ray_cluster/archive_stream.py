"""A task's public files as a stream of pieces of one archive, which contains that folder and nothing else."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable, Iterable
from typing import IO, Any, cast

from trl_mle.errors import SandboxUnavailableError
from trl_mle.sandboxes.local.runner import public_files
from trl_mle.sandboxes.public_files import add_public

PIECE_BYTES = 32 * 1024**2
"""Size of one piece in bytes. It bounds the memory that packing and unpacking need."""


def pack(folder: str, emit: Callable[[bytes], object]) -> None:
    """Give the files below `folder` to `emit` as pieces of one archive of at most `PIECE_BYTES` each.

    Raises:
        SandboxUnavailableError: there is no such folder, or it contains something that programs could not read.
    """
    public_files.check.cache_clear()  # the folder may have changed since another sandbox checked it
    try:
        public_files.check(folder)
    except public_files.UnusableError as error:
        raise SandboxUnavailableError(f"{error}.") from None
    pieces = _Pieces(emit)
    with tarfile.open(fileobj=cast(IO[bytes], pieces), mode="w|", format=tarfile.PAX_FORMAT) as archive:
        add_public(archive, folder)
    pieces.finish()


def unpack(pieces: Iterable[bytes], folder: str) -> None:
    """Create `folder` with the files of the archive in `pieces`. All of them are read-only."""
    os.mkdir(folder, 0o700)
    with tarfile.open(fileobj=cast(IO[bytes], _Reader(pieces)), mode="r|") as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, path: member)
        archive.extractall(folder)
    for here, folders, files in os.walk(folder, topdown=False):
        for name in (*folders, *files):
            path = os.path.join(here, name)
            if not os.path.islink(path):
                executable = os.stat(path).st_mode & 0o111
                os.chmod(path, 0o555 if executable else 0o444)
    os.chmod(folder, 0o555)


class _Pieces:
    """A writable file that passes its content on in pieces."""

    def __init__(self, emit: Callable[[bytes], object]):
        self._emit = emit
        self._buffer = bytearray()

    def write(self, data: Any) -> int:
        self._buffer += data
        while len(self._buffer) >= PIECE_BYTES:
            self._emit(bytes(self._buffer[:PIECE_BYTES]))
            del self._buffer[:PIECE_BYTES]
        return len(data)

    def finish(self) -> None:
        if self._buffer:
            self._emit(bytes(self._buffer))


class _Reader:
    """A readable file made of an iterable of pieces."""

    def __init__(self, pieces: Iterable[bytes]):
        self._pieces = iter(pieces)
        self._rest = memoryview(b"")

    def read(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            if not self._rest:
                piece = next(self._pieces, None)
                if piece is None:
                    break
                self._rest = memoryview(piece)
            wanted = size - len(parts)
            parts += self._rest[:wanted]
            self._rest = self._rest[wanted:]
        return bytes(parts)
