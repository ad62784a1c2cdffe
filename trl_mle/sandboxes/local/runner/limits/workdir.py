"""The folder of one program: its size, its submission, and its removal."""

from __future__ import annotations

import errno
import os
import secrets
import signal
import stat
import sys
import tempfile
from contextlib import suppress
from typing import NoReturn

from ..isolation import mounts
from ..isolation.root_steps import WORK
from ..protocol import ProgramLimits

SUBMISSION = "submission.csv"
MOST_ENTRIES = 20_000
"""Files and folders that a program may have at one time."""


_REMOVAL_S = 60
"""Longest time that the removal of one program's folder may take, in seconds."""
_DESCRIPTORS = 4096
_ASIDE = "removing-"
"""Beginning of the names of folders whose programs have ended."""


def usage(folder: str) -> tuple[int, int]:
    """Bytes on disk and number of entries below `folder`. Counting stops past `MOST_ENTRIES`."""
    size = entries = 0
    pending = [folder]
    while pending and entries <= MOST_ENTRIES:
        try:
            listing = os.scandir(pending.pop())
        except OSError:
            continue  # removed meanwhile, or closed by its owner, who can then put nothing more into it
        with listing:
            for entry in listing:
                entries += 1
                if entries > MOST_ENTRIES:
                    break
                with suppress(OSError):
                    size += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
    return size, entries


def free_bytes(descriptor: int) -> int:
    """Free space of the file system of an open folder; 0 if it is not known."""
    with suppress(OSError):
        status = os.fstatvfs(descriptor)
        return status.f_bfree * status.f_frsize
    return 0


def used_bytes(descriptor: int) -> int:
    """Used space of the file system of an open folder; 0 if it is not known."""
    with suppress(OSError):
        status = os.fstatvfs(descriptor)
        return (status.f_blocks - status.f_bfree) * status.f_frsize
    return 0


class WorkFolder:
    """The fresh folder of one program: a bounded file system in memory, or a folder on disk.

    Args:
        folder (`str`):
            Where folders on disk are made.
        limits (`ProgramLimits`):
            Those of the program.
        own_mount (`bool`):
            Whether the folder is a mount of its own, for a private root.
        in_memory (`bool`):
            Whether the folder is kept in memory; only with `own_mount`.
    """

    def __init__(self, folder: str, limits: ProgramLimits, own_mount: bool, in_memory: bool):
        self.path: str | None = None
        """Path on disk; `None` for a folder in memory."""
        if own_mount and in_memory:
            self.descriptor = mounts.in_memory(limits.work_bytes, MOST_ENTRIES)
        else:
            self.path = tempfile.mkdtemp(prefix="run-", dir=folder)
            self.descriptor = mounts.of_folder(self.path) if own_mount else os.open(self.path, os.O_RDONLY)
        self.inside = WORK if own_mount else str(self.path)
        """Its path as the program sees it."""

    def read_submission(self, most_bytes: int) -> tuple[bytes | None, str | None]:
        """Content of the submission, or the reason why there is none although something of that name exists.

        Only a regular file with one name is read: a link would have the host read a file that the program cannot.
        """
        try:
            # The program may have taken away the rights of its own folder.
            os.chmod(self.path or f"/proc/self/fd/{self.descriptor}", 0o700)
            # Not blocking: a FIFO without a writer would stop the supervisor.
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(SUBMISSION, flags, dir_fd=self.descriptor)
        except FileNotFoundError:
            return None, None
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EMLINK):
                return None, f"{SUBMISSION} is a symbolic link; write a regular file"
            return None, f"{SUBMISSION} cannot be opened: {error.strerror}"
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            return None, f"{SUBMISSION} is not a regular file"
        with os.fdopen(descriptor, "rb") as file:
            if status.st_nlink > 1:
                return None, f"{SUBMISSION} is a hard link to another file; write a file of its own"
            if status.st_size > most_bytes:
                return None, f"{SUBMISSION} has {status.st_size} bytes; at most {most_bytes} are read"
            return file.read(most_bytes), None

    def set_aside(self) -> None:
        """Rename a folder on disk, so that nothing that was left running finds it and the host never meets it."""
        if self.path is None:
            return
        aside = os.path.join(os.path.dirname(self.path), f"{_ASIDE}{secrets.token_hex(16)}")
        with suppress(OSError):
            os.rename(self.path, aside)
            self.path = aside

    def remove(self) -> None:
        """Have the folder removed with all that is in it, by a process of its own: however long that takes, nobody waits.

        What cannot be removed is written to standard error and left to the worker's end.
        """
        os.close(self.descriptor)
        if self.path is None:
            return
        self.set_aside()
        try:
            pid = os.fork()
        except OSError as error:
            sys.stderr.write(f"{self.path} is left until the worker ends: {error}\n")
            return
        if pid == 0:
            _remove_alone(self.path)


def _remove_alone(folder: str) -> NoReturn:
    """Remove `folder` in this process, which holds no socket and no pipe of the sandbox, and end it."""
    try:
        os.closerange(3, _DESCRIPTORS)
        os.nice(10)
        signal.alarm(_REMOVAL_S)  # whatever a program has built there, its removal ends
        remove(folder)
        # What an earlier removal has left, because it was killed or took too long.
        beside = os.path.dirname(folder)
        for name in os.listdir(beside):
            if name.startswith(_ASIDE):
                with suppress(OSError):  # another process may be at it
                    remove(os.path.join(beside, name))
    except BaseException as error:
        sys.stderr.write(f"{folder} is left until the worker ends: {error}\n")
        sys.stderr.flush()
    finally:
        os._exit(0)


def remove(folder: str) -> None:
    """Remove `folder` whatever its modes and its depth. Subfolders move up to the top before they are emptied."""
    # A name that no program can have prepared.
    prefix = f".removed-{secrets.token_hex(16)}-"
    number = 0
    os.chmod(folder, 0o700)
    while True:
        with os.scandir(folder) as listing:
            entries = list(listing)
        if not entries:
            break
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)
                continue
            os.chmod(entry.path, 0o700)
            with os.scandir(entry.path) as listing:
                for inner in listing:
                    if inner.is_dir(follow_symlinks=False):
                        os.chmod(inner.path, 0o700)  # a folder that moves is written to
                        number += 1
                        os.rename(inner.path, os.path.join(folder, f"{prefix}{number}"))
                    else:
                        os.unlink(inner.path)
            os.rmdir(entry.path)
    os.rmdir(folder)
