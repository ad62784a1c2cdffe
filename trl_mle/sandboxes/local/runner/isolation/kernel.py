"""Calls of the C library that Python does not offer. Every function here raises `OSError` on failure."""

from __future__ import annotations

import ctypes
import os
import sys

LINUX = sys.platform == "linux"

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_CAPBSET_DROP = 24
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_CAPABILITY_VERSION_3 = 0x20080522

libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, call: str) -> int:
    """`result` of a C call, or the `OSError` of its errno."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")
    return result


def prctl(option: int, argument: int = 0) -> None:
    """prctl(2) with one argument."""
    zero = ctypes.c_ulong(0)
    check(libc.prctl(option, ctypes.c_ulong(argument), zero, zero, zero), f"prctl({option})")


def signal_on_parent_death(signal_number: int) -> None:
    """Have the kernel send `signal_number` to this process when its parent dies. Reset by a change of credentials."""
    prctl(_PR_SET_PDEATHSIG, signal_number)


def adopt_orphans() -> None:
    """Make this process the parent of descendants whose own parent dies."""
    prctl(_PR_SET_CHILD_SUBREAPER, 1)


def allow_own_proc_files() -> None:
    """Give `/proc/self` back to this process: the kernel takes it away when credentials change."""
    prctl(_PR_SET_DUMPABLE, 1)


def forbid_new_privileges() -> None:
    """Take away the effect of set-user-ID programs. Landlock needs this without privileges."""
    prctl(_PR_SET_NO_NEW_PRIVS, 1)


def drop_bounding_capabilities() -> None:
    """Keep every later exec from bringing a capability back. Does nothing if this process may not change capabilities."""
    for capability in range(64):
        if libc.prctl(_PR_CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0) < 0:
            return  # past the last one (EINVAL), or an ordinary user, who has none to lose (EPERM)


def drop_capabilities() -> None:
    """Empty the effective, permitted, inheritable and ambient sets."""
    prctl_arguments = (ctypes.c_ulong(_PR_CAP_AMBIENT_CLEAR_ALL), *[ctypes.c_ulong(0)] * 3)
    check(libc.prctl(_PR_CAP_AMBIENT, *prctl_arguments), "prctl(PR_CAP_AMBIENT)")
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    check(libc.capset(header, (ctypes.c_uint32 * 6)()), "capset")
