"""The folder of one program: its size and its submission."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from contextlib import suppress

from ..isolation import mounts
from ..isolation.root_steps import WORK
from ..protocol import ProgramLimits
from .removal import FRESH, name_aside, open_folder

SUBMISSION = "submission.csv"
MOST_ENTRIES = 20_000
"""Files and folders that a program may have at one time."""

_MOST_DEPTH = 4000


def most_depth() -> int:
    """Levels of folders that a program may have within each other. Each level takes a descriptor while it is looked at."""
    return min(_MOST_DEPTH, os.sysconf("SC_OPEN_MAX") // 2)


def usage(folder: str) -> tuple[int, int]:
    """Bytes on disk and number of entries below `folder`. Counting stops past `MOST_ENTRIES` or `most_depth()`.

    Folders are opened within each other: a path could be too long, or lead over a link that was put in its way. A folder that
    its owner has closed is opened again, for who has it or something in it open can go on writing.
    """
    size = entries = 0
    levels: list[tuple[int, list[str]]] = []
    """The open folders from `folder` down, each with the names of subfolders that are still to be read."""

    def enter(name: str, within: int | None = None) -> None:
        nonlocal size, entries
        descriptor, names = open_folder(name, within, rights=0o500), list[str]()
        levels.append((descriptor, names))
        with os.scandir(descriptor) as listing:
            for entry in listing:
                entries += 1
                if entries > MOST_ENTRIES:
                    return
                with suppress(OSError):
                    size += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        names.append(entry.name)

    deepest = most_depth()
    try:
        with suppress(OSError):
            enter(folder)
        while levels and entries <= MOST_ENTRIES:
            descriptor, names = levels[-1]
            if not names:
                os.close(levels.pop()[0])
            elif len(levels) > deepest:
                entries = MOST_ENTRIES + 1
            else:
                with suppress(OSError):  # removed meanwhile, or something else by now
                    enter(names.pop(), descriptor)
    finally:
        for descriptor, _ in levels:
            os.close(descriptor)
    return size, entries


def free_space(descriptor: int) -> tuple[int, int]:
    """Free bytes and free files of the file system of an open folder; 0 if they are not known."""
    with suppress(OSError):
        status = os.fstatvfs(descriptor)
        return status.f_bfree * status.f_frsize, status.f_ffree
    return 0, 0


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
            self.path = tempfile.mkdtemp(prefix=FRESH, dir=folder)
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
        aside = os.path.join(os.path.dirname(self.path), name_aside())
        with suppress(OSError):
            os.rename(self.path, aside)
            self.path = aside

    def remove(self) -> None:
        """Give the folder up: one in memory is gone then, and `sweep` removes one on disk."""
        os.close(self.descriptor)
        self.set_aside()
