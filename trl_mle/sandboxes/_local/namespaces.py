"""Own namespaces for one program: no process outlives its init, there is no network, and the root is read-only.

All of it works without privileges where the kernel allows user namespaces; see `layers.probe` for where it does not.
"""

from __future__ import annotations

import ctypes
import os
import re
from contextlib import suppress

from .kernel import check, libc

_NEW_NS, _NEW_IPC, _NEW_USER, _NEW_PID, _NEW_NET = 0x20000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_BIND, _MS_REC, _MS_PRIVATE = 0x2, 0x4, 0x8, 0x1000, 0x4000, 0x40000
_MOUNT_SETATTR = 442
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_ATTR_RDONLY, _ATTR_NOSUID = 0x1, 0x2

MOST_PROCESSES = 1024
"""Processes and threads that a program's PID namespace can hold, whatever its limits say."""
SHARED_MEMORY_BYTES = 64 * 1024**2
"""Size of a program's private `/dev/shm`, where semaphores of `multiprocessing` live."""


class _MountAttributes(ctypes.Structure):
    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def unshare(mounts: bool) -> None:
    """Enter new user, network and IPC namespaces (and a mount one); the next child is init of a new PID namespace."""
    uid, gid = os.geteuid(), os.getegid()
    flags = _NEW_USER | _NEW_PID | _NEW_NET | _NEW_IPC | (_NEW_NS if mounts else 0)
    check(libc.unshare(flags), "unshare")
    # Only the own user exists inside; without `deny` an ordinary user may not write the map of groups.
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def mount_private_view(work: str, public: str, private_proc: bool) -> None:
    """Make everything read-only but `work`, show `public` as `work/input`, with an own `/dev/shm`, `/run`, `/proc`.

    Read-only matters beside Landlock, which lets the owner of a file change its mode and times.
    """
    _mount(None, "/", None, _MS_REC | _MS_PRIVATE)
    _mount(work, work, None, _MS_BIND)
    _mount(public, os.path.join(work, "input"), None, _MS_BIND | _MS_REC)
    if os.path.isdir("/run"):  # sockets of the machine's services
        _mount("tmpfs", "/run", "tmpfs", _MS_NOSUID | _MS_NODEV, "size=4k,mode=755")
    writable = [work]
    if os.path.isdir("/dev/shm"):
        _mount("tmpfs", "/dev/shm", "tmpfs", _MS_NOSUID | _MS_NODEV, f"size={SHARED_MEMORY_BYTES},mode=1777")
        writable.append("/dev/shm")
    if private_proc:
        _mount("proc", "/proc", "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
        _bound_processes()
    _set_attributes("/", _AT_RECURSIVE, set_bits=_ATTR_RDONLY | _ATTR_NOSUID)
    for path in writable:
        _set_attributes(path, 0, clear_bits=_ATTR_RDONLY)


def _bound_processes() -> None:
    """Let this PID namespace hold few processes, where the number is its own: RLIMIT_NPROC does not hold for root."""
    # Before Linux 6.14 it is the machine's, and root could change it for everyone even from in here.
    if not own_process_bound(os.uname().release):
        return
    with suppress(OSError), open("/proc/sys/kernel/pid_max", "w") as file:  # a second layer beneath the watch
        file.write(str(MOST_PROCESSES))


def own_process_bound(release: str) -> bool:
    """Whether a kernel of version `release` keeps the largest process number for each PID namespace (Linux 6.14)."""
    match = re.match(r"(\d+)\.(\d+)", release)
    return match is not None and (int(match[1]), int(match[2])) >= (6, 14)


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: str = "") -> None:
    arguments = [value and os.fsencode(value) for value in (source, target, kind)]
    result = libc.mount(*arguments, ctypes.c_ulong(flags), os.fsencode(options) or None)
    check(result, f"mount {source} on {target}")


def _set_attributes(path: str, flags: int, set_bits: int = 0, clear_bits: int = 0) -> None:
    attributes = _MountAttributes(set=set_bits, clear=clear_bits)
    result = libc.syscall(
        _MOUNT_SETATTR,
        _AT_FDCWD,
        os.fsencode(path),
        ctypes.c_uint(flags),
        ctypes.byref(attributes),
        ctypes.c_size_t(ctypes.sizeof(attributes)),
    )
    check(result, f"mount_setattr {path}")
