"""Mounts in a mount namespace that belongs to a user namespace of one's own, by the calls that Python lacks.

The numbers of the newer calls are the same on every architecture.
"""

from __future__ import annotations

import ctypes
import os

from .kernel import check, libc

_NOSUID, _NODEV, _NOEXEC, _BIND, _REC, _PRIVATE = 0x2, 0x4, 0x8, 0x1000, 0x4000, 0x40000
_DETACH = 2
_OPEN_TREE, _MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT, _MOUNT_SETATTR = 428, 429, 430, 431, 432, 442
_HERE, _RECURSIVE = -100, 0x8000
_CLOSE_ON_EXEC, _CLONE, _FROM_EMPTY_PATH = 0x1, 0x1, 0x4
_SET_STRING, _CREATE = 1, 6
_ATTR_RDONLY, _ATTR_NOSUID, _ATTR_NODEV = 0x1, 0x2, 0x4


class _Attributes(ctypes.Structure):
    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def keep_to_oneself() -> None:
    """Keep the mounts of this namespace from spreading to others."""
    _mount(None, "/", None, _REC | _PRIVATE)


def bind(source: str, target: str) -> None:
    """Show `source`, with all that is mounted below it, as `target`."""
    _mount(source, target, None, _BIND | _REC)


def temporary(target: str, options: str) -> None:
    """Mount an empty file system in memory."""
    _mount("tmpfs", target, "tmpfs", _NOSUID | _NODEV, options)


def processes(target: str) -> None:
    """Mount a `/proc` of this PID namespace."""
    _mount("proc", target, "proc", _NOSUID | _NODEV | _NOEXEC)


def in_memory(size: int, entries: int) -> int:
    """A descriptor of a new file system in memory, for `attach` and the `*at` calls. It is mounted nowhere yet.

    Args:
        size (`int`): bytes that it can hold.
        entries (`int`): files and folders that it can hold.
    """
    context = _syscall(_FSOPEN, b"tmpfs", ctypes.c_uint(_CLOSE_ON_EXEC), what="fsopen")
    try:
        for key, value in (("size", str(size)), ("nr_inodes", str(entries)), ("mode", "700")):
            _syscall(_FSCONFIG, context, ctypes.c_uint(_SET_STRING), key.encode(), value.encode(), 0, what="fsconfig")
        _syscall(_FSCONFIG, context, ctypes.c_uint(_CREATE), None, None, 0, what="fsconfig")
        attributes = ctypes.c_uint(_ATTR_NOSUID | _ATTR_NODEV)
        return _syscall(_FSMOUNT, context, ctypes.c_uint(_CLOSE_ON_EXEC), attributes, what="fsmount")
    finally:
        os.close(context)


def of_folder(path: str) -> int:
    """A descriptor of the folder `path` as a mount of its own, as from `in_memory`. It is mounted nowhere yet."""
    return _syscall(_OPEN_TREE, _HERE, os.fsencode(path), ctypes.c_uint(_CLONE | os.O_CLOEXEC), what="open_tree")


def attach(mount: int, target: str) -> None:
    """Mount the descriptor from `in_memory` or `of_folder` at `target`."""
    _syscall(_MOVE_MOUNT, mount, b"", _HERE, os.fsencode(target), ctypes.c_uint(_FROM_EMPTY_PATH), what="move_mount")


def make_read_only(path: str) -> None:
    """Forbid writing and set-user-ID programs on the mount at `path` and those below it."""
    _set_attributes(path, _RECURSIVE, set_bits=_ATTR_RDONLY | _ATTR_NOSUID)


def make_writable(path: str) -> None:
    """Allow writing again, on the mount at `path` alone."""
    _set_attributes(path, 0, clear_bits=_ATTR_RDONLY)


def become_root(path: str) -> None:
    """Make `path` this namespace's root and let go of the old one."""
    os.chdir(path)
    check(libc.pivot_root(b".", b"."), "pivot_root")
    check(libc.umount2(b".", _DETACH), "umount")
    os.chdir("/")


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: str = "") -> None:
    arguments = [value and os.fsencode(value) for value in (source, target, kind)]
    result = libc.mount(*arguments, ctypes.c_ulong(flags), os.fsencode(options) or None)
    check(result, f"mount {source} on {target}")


def _set_attributes(path: str, flags: int, set_bits: int = 0, clear_bits: int = 0) -> None:
    attributes = _Attributes(set=set_bits, clear=clear_bits)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    arguments = (_HERE, os.fsencode(path), ctypes.c_uint(flags), ctypes.byref(attributes), size)
    _syscall(_MOUNT_SETATTR, *arguments, what=f"mount_setattr {path}")


def _syscall(number: int, *arguments: object, what: str) -> int:
    return check(libc.syscall(ctypes.c_long(number), *arguments), what)
