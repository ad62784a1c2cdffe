"""Landlock: which files this process, and all that it starts, may open. https://docs.kernel.org/userspace-api/landlock.html

The rules are an allowlist on top of the ordinary permissions: a file that no rule names cannot be opened. The numbers of
the system calls are the same on every architecture.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterable

from .kernel import LINUX, check, libc

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_RULE_PATH_BENEATH = 1
_VERSION_FLAG = 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_MAKE_CHAR, _MAKE_BLOCK = 1 << 6, 1 << 11
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_FIRST_RIGHTS = (1 << 13) - 1
_OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | _TRUNCATE | _IOCTL_DEV

READ = READ_FILE | READ_DIR
RUN = READ | EXECUTE
DEVICE = READ_FILE | WRITE_FILE
ALL = (_FIRST_RIGHTS | _REFER | _TRUNCATE) & ~(_MAKE_CHAR | _MAKE_BLOCK)

_TCP_BIND_AND_CONNECT = 0b11
_TCP = 4
"""First version that holds TCP back."""
_SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS = 0b11
TRUNCATION = 3
"""First version that holds back the truncation of files that may only be read."""
SCOPED_SIGNALS = 6
"""First version that holds back signals to processes outside."""


class _Ruleset(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def abi() -> int:
    """Version of Landlock that this kernel offers; 0 if it has none."""
    if not LINUX:
        return 0
    return max(0, libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION_FLAG)))


def handled_rights(version: int) -> int:
    """Bits of every file right that version `version` controls."""
    added = ((2, _REFER), (TRUNCATION, _TRUNCATE), (5, _IOCTL_DEV))
    return _FIRST_RIGHTS | sum(right for since, right in added if version >= since)


def restrict(version: int, rules: Iterable[tuple[str, int]]) -> None:
    """Confine this process to `rules`, pairs of a path and the rights beneath it. Missing paths are left out.

    From version `_TCP` on TCP is refused, from version `SCOPED_SIGNALS` on signals to processes and abstract sockets outside.
    """
    handled = handled_rights(version)
    attributes = _Ruleset(
        fs=handled,
        net=_TCP_BIND_AND_CONNECT if version >= _TCP else 0,
        scoped=_SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS if version >= SCOPED_SIGNALS else 0,
    )
    size = 8 if version < _TCP else 16 if version < SCOPED_SIGNALS else 24
    ruleset = libc.syscall(_CREATE_RULESET, ctypes.byref(attributes), ctypes.c_size_t(size), ctypes.c_uint32(0))
    check(ruleset, "landlock_create_ruleset")
    try:
        for path, rights in rules:
            _add(ruleset, path, rights & handled)
        check(libc.syscall(_RESTRICT_SELF, ruleset, ctypes.c_uint32(0)), "landlock_restrict_self")
    finally:
        os.close(ruleset)


def _add(ruleset: int, path: str, rights: int) -> None:
    try:
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(parent).st_mode):
            rights &= _OF_FILES
        rule = _PathBeneath(allowed=rights, parent=parent)
        arguments = (ruleset, _RULE_PATH_BENEATH, ctypes.byref(rule), ctypes.c_uint32(0))
        check(libc.syscall(_ADD_RULE, *arguments), f"landlock_add_rule({path})")
    finally:
        os.close(parent)
