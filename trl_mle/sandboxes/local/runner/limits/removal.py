"""Removal of what programs have left on disk: it follows no link, it ends, and whoever fails at it is counted."""

from __future__ import annotations

import fcntl
import os
import secrets
import signal
import sys
from contextlib import suppress
from typing import NoReturn

from ..isolation.kernel import LINUX, signal_on_parent_death

_REMOVAL_S = 60
"""Longest time that one sweep may take, in seconds."""
ASIDE = "removing-"
"""Beginning of the names of folders whose programs have ended."""
FRESH = "run-"
"""Beginning of the names of folders of programs."""
_FAILURES = "removals-failed"
"""File in a worker's folder with one byte for each removal that has failed."""


def name_aside() -> str:
    """A name that no program can have prepared, for a folder whose program has ended."""
    return f"{ASIDE}{secrets.token_hex(16)}"


def failures(folder: str | os.PathLike[str]) -> int:
    """Number of removals in a worker's `folder` that have failed so far."""
    with suppress(OSError):
        return os.stat(os.path.join(folder, _FAILURES)).st_size
    return 0


def sweep(folder: str) -> None:
    """Have a process of its own remove what programs have left in a worker's `folder`: however long that takes, nobody waits.

    For the worker, between two programs. A supervisor cannot do it: with its program's first process all processes of the
    namespace have ended, and it may start no other. What cannot be removed is counted and tried again.
    """
    left = _left(folder)
    if not left:
        return
    for name in left:
        # A supervisor that was killed has not set it aside.
        if name.startswith(FRESH):
            with suppress(OSError):
                os.rename(os.path.join(folder, name), os.path.join(folder, name_aside()))
    try:
        pid = os.fork()
    except OSError as error:  # the machine has no capacity for one more process: after the next program
        _note(folder, error)
        return
    if pid == 0:
        _sweep_alone(folder)


def _left(folder: str) -> set[str]:
    with suppress(OSError):
        return {name for name in os.listdir(folder) if name.startswith((FRESH, ASIDE))}
    return set()


def _note(folder: str, error: BaseException | str) -> None:
    """Count a failed removal, and say why on standard error."""
    with suppress(OSError), open(os.path.join(folder, _FAILURES), "ab") as file:
        file.write(b"!")
    with suppress(OSError):
        sys.stderr.write(f"{folder} keeps folders of programs for now: {error}\n")


def _sweep_alone(folder: str) -> NoReturn:
    """Remove the folders of programs in this process, which holds no socket and no pipe of the sandbox, and end it."""

    def give_up(*_: object) -> None:
        _note(folder, f"the removal took more than {_REMOVAL_S} s")
        os._exit(0)

    try:
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        if LINUX:
            # Whoever removes the worker's folder after the worker's end must not meet this process.
            signal_on_parent_death(signal.SIGKILL)
        os.nice(10)
        fcntl.flock(os.open(folder, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whatever a program has built there, its removal ends. The next sweep goes on with it.
        signal.signal(signal.SIGALRM, give_up)
        signal.alarm(_REMOVAL_S)
        # Names that `set_aside` has given: the folder of a program that runs meanwhile has another one.
        tried: set[str] = set()
        while left := {name for name in _left(folder) if name.startswith(ASIDE)} - tried:
            tried |= left
            for name in left:
                try:
                    remove(os.path.join(folder, name))
                except OSError as error:
                    _note(folder, error)
    except BlockingIOError:
        pass  # an earlier sweep is at it, and sees what is new
    except BaseException as error:
        _note(folder, error)
    finally:
        with suppress(OSError):
            sys.stderr.flush()
        os._exit(0)


def remove(folder: str) -> None:
    """Remove `folder` whatever its modes and its depth. Subfolders move up to the top before they are emptied.

    No link is followed, not even one that a process puts in the place of a folder meanwhile: every name is looked up in a folder
    that is open.
    """
    prefix = f".removed-{secrets.token_hex(16)}-"  # a name that no program can have prepared
    number = 0
    top = open_folder(folder)
    try:
        while entries := _entries(top):
            for name, is_folder in entries:
                if not is_folder:
                    os.unlink(name, dir_fd=top)
                    continue
                inner = open_folder(name, top)
                try:
                    for inner_name, is_inner_folder in _entries(inner):
                        if is_inner_folder:
                            make_accessible(inner_name, inner)  # a folder that moves is written to
                            number += 1
                            os.rename(inner_name, f"{prefix}{number}", src_dir_fd=inner, dst_dir_fd=top)
                        else:
                            os.unlink(inner_name, dir_fd=inner)
                finally:
                    os.close(inner)
                os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)
    os.rmdir(folder)


def open_folder(name: str, within: int | None = None, rights: int = 0o700) -> int:
    """A descriptor of the folder `name`, which must be no link. A folder that its owner has closed is opened to him again.

    Args:
        name (`str`): a path, or a name in `within`.
        within (`int`, *optional*): a descriptor of the folder that holds it.
        rights (`int`, *optional*): the owner's rights that are needed.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(name, flags, dir_fd=within)
    except PermissionError:
        make_accessible(name, within)
        return os.open(name, flags, dir_fd=within)
    if os.fstat(descriptor).st_mode & rights != rights:
        os.fchmod(descriptor, 0o700)
    return descriptor


def make_accessible(name: str, within: int | None = None) -> None:
    """Give the owner of a folder all rights to it, as for `open_folder`."""
    if not LINUX:
        os.chmod(name, 0o700, dir_fd=within, follow_symlinks=False)
        return
    # The call that does not follow links is missing before Linux 6.6.
    handle = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=within)
    try:
        os.chmod(f"/proc/self/fd/{handle}", 0o700)
    finally:
        os.close(handle)


def _entries(descriptor: int) -> list[tuple[str, bool]]:
    """Names in an open folder, each with whether it is a folder. All of them first: names are not removed while they are read."""
    with os.scandir(descriptor) as listing:
        return [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in listing]
