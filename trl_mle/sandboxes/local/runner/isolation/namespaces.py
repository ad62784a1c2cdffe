"""Namespaces of one program: processes, network, IPC and mounts of its own.

They need no privileges if the kernel allows user namespaces; see `probe` for machines on which it does not.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress

from . import mounts
from .kernel import check, libc

_NEW_NS, _NEW_IPC, _NEW_USER, _NEW_PID, _NEW_NET = 0x20000, 0x8000000, 0x10000000, 0x20000000, 0x40000000

MOST_PROCESSES = 1024
"""Processes and threads that a program's PID namespace can hold, whatever the limits of the program."""


def unshare_user() -> None:
    """Enter a new user namespace. Only the own user exists in it, and it allows all namespaces below."""
    uid, gid = os.geteuid(), os.getegid()
    check(libc.unshare(_NEW_USER), "unshare")
    # Without `deny` an ordinary user may not write the map of groups.
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def unshare(with_mounts: bool) -> None:
    """Enter new network and IPC namespaces (and a mount namespace). The next child is init of a new PID namespace."""
    check(libc.unshare(_NEW_PID | _NEW_NET | _NEW_IPC | (_NEW_NS if with_mounts else 0)), "unshare")
    if with_mounts:
        mounts.keep_to_oneself()


def unshare_mounts() -> None:
    """Enter a new mount namespace, a copy of the one that `unshare` made."""
    check(libc.unshare(_NEW_NS), "unshare")


def enter_processes(owner: int) -> None:
    """Let the next child be part of the PID namespace of a process.

    Args:
        owner (`int`): descriptor of the process (pidfd).
    """
    check(libc.setns(owner, _NEW_PID), "setns")


def enter(owner: int, with_mounts: bool) -> None:
    """Enter the network and IPC namespaces of the process `owner` (and the mount namespace, with its root)."""
    check(libc.setns(owner, _NEW_NET | _NEW_IPC | (_NEW_NS if with_mounts else 0)), "setns")


def bound_processes(proc: str) -> None:
    """Bound the number of processes of this PID namespace, whose `/proc` is at `proc`: RLIMIT_NPROC does not bind root."""
    # Before Linux 6.14 the number is the machine's, and root could change it for everyone even from in here.
    if not own_process_bound(os.uname().release):
        return
    with (
        suppress(OSError),
        open(f"{proc}/sys/kernel/pid_max", "w") as file,
    ):  # a second layer beneath the limits monitor
        file.write(str(MOST_PROCESSES))


def own_process_bound(release: str) -> bool:
    """Whether a kernel of version `release` keeps the largest process number per PID namespace (Linux 6.14)."""
    match = re.match(r"(\d+)\.(\d+)", release)
    return match is not None and (int(match[1]), int(match[2])) >= (6, 14)
