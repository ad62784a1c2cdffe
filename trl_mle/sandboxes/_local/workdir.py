"""The private folder of one program: how much is in it, its submission, and how it goes away again."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

SUBMISSION = "submission.csv"
MOST_ENTRIES = 100_000
"""Files and folders that a program may have at one time."""


def usage(folder: str) -> tuple[int, int]:
    """Bytes on disk and number of entries below `folder`; counting stops past `MOST_ENTRIES`."""
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


def read_submission(folder: str, most_bytes: int) -> tuple[bytes | None, str | None]:
    """Content of the submission, and the reason why there is none although something of that name exists.

    Only a regular file with one name is read: a link would have the host read a file that the program cannot.
    """
    path = os.path.join(folder, SUBMISSION)
    try:
        os.chmod(folder, 0o700)
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
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


def remove(folder: str) -> None:
    """Remove `folder` whatever its modes and its depth: subfolders move up to the top before they are emptied."""
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
                        os.rename(inner.path, os.path.join(folder, f".removed-{os.getpid()}-{number}"))
                    else:
                        os.unlink(inner.path)
            os.rmdir(entry.path)
    os.rmdir(folder)
