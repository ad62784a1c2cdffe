"""The folder of one program: its size, its submission, and its removal."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import signal
import stat
import sys
import tempfile
from contextlib import suppress
from typing import NoReturn

from ..isolation import mounts
from ..isolation.kernel import LINUX, signal_on_parent_death
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
_FRESH = "run-"
"""Beginning of the names of folders of programs."""


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
            self.path = tempfile.mkdtemp(prefix=_FRESH, dir=folder)
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
        """Give the folder up: one in memory is gone then, and `sweep` removes one on disk."""
        os.close(self.descriptor)
        self.set_aside()


def sweep(folder: str) -> None:
    """Have a process of its own remove what programs have left in a worker's `folder`: however long that takes, nobody waits.

    For the worker, between two programs. A supervisor cannot do it: with its program's first process all processes of the
    namespace have ended, and it may start no other. What cannot be removed is written to standard error and tried again.
    """
    left = _left(folder)
    if not left:
        return
    for name in left:
        # A supervisor that was killed has not set it aside.
        if name.startswith(_FRESH):
            with suppress(OSError):
                os.rename(os.path.join(folder, name), os.path.join(folder, f"{_ASIDE}{secrets.token_hex(16)}"))
    try:
        pid = os.fork()
    except OSError as error:  # the machine has no capacity for one more process: after the next program
        sys.stderr.write(f"{folder} keeps folders of programs for now: {error}\n")
        return
    if pid == 0:
        _sweep_alone(folder)


def _left(folder: str) -> set[str]:
    with suppress(OSError):
        return {name for name in os.listdir(folder) if name.startswith((_FRESH, _ASIDE))}
    return set()


def _sweep_alone(folder: str) -> NoReturn:
    """Remove the folders of programs in this process, which holds no socket and no pipe of the sandbox, and end it."""
    try:
        os.closerange(3, _DESCRIPTORS)
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        if LINUX:
            # Whoever removes the worker's folder after the worker's end must not meet this process.
            signal_on_parent_death(signal.SIGKILL)
        os.nice(10)
        # Whatever a program has built there, its removal ends. The next sweep goes on with it.
        signal.alarm(_REMOVAL_S)
        fcntl.flock(os.open(folder, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Names that `set_aside` has given: the folder of a program that runs meanwhile has another one.
        tried: set[str] = set()
        while left := {name for name in _left(folder) if name.startswith(_ASIDE)} - tried:
            tried |= left
            for name in left:
                try:
                    remove(os.path.join(folder, name))
                except OSError as error:
                    sys.stderr.write(f"a folder of a program is left for now: {error}\n")
    except BlockingIOError:
        pass  # an earlier sweep is at it, and sees what is new
    except BaseException as error:
        sys.stderr.write(f"{folder} keeps folders of programs for now: {error}\n")
    finally:
        with suppress(OSError):
            sys.stderr.flush()
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
