"""Seccomp: the system calls that a program may make. https://docs.kernel.org/userspace-api/seccomp_filter.html

The filter is a deny list. It refuses calls that give new namespaces or mounts, reach into other processes, drive the kernel
(modules, BPF, io_uring), change the machine, keep memory that belongs to no process, or open a socket of another family than
AF_UNIX. Calls are identified by number, and numbers differ between processor architectures: `_NUMBERS` has those for which the
filter exists.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Iterator

from .kernel import check, libc

_SET_MODE_FILTER, _FLAG_SPECULATION_ALLOWED = 1, 4
_KILL_PROCESS, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_LOAD, _AND, _EQUALS, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06
_OFFSET_NUMBER, _OFFSET_ARCHITECTURE, _OFFSET_ARGUMENTS = 0, 4, 16
_X32 = 0x40000000
_REFUSED_CLONES = 0x7E020080 | 0x8000
"""CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET,TIME} and CLONE_PARENT (a child of the fork server) of clone(2)."""
_AF_UNIX = 1
_SOCKET_KIND, _STREAM, _SEQUENCE = 0xF, 1, 5
_MAP_SHARED, _MAP_ANONYMOUS, _MAP_HUGETLB = 0x01, 0x20, 0x40000
_REFUSED_CONTROLS = (0x5412, 0x541C, 0x40086602, 0x40046602, 0x401C5820)
"""TIOCSTI and TIOCLINUX: typing into a terminal. FS_IOC_SETFLAGS, FS_IOC32_SETFLAGS and FS_IOC_FSSETXATTR: flags of files."""
_OTHERS_WAIT = (1024, 1026)
"""F_SETLEASE and F_NOTIFY: other processes that open the file wait for the program."""
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
"""The harmless personalities, and the query for the current one."""

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# name: number on x86_64, number on aarch64 (None where there is no such call)
_NUMBERS: dict[str, tuple[int, int | None]] = {
    # mounts, roots and namespaces
    **{"mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "setns": (308, 268)},
    **{"unshare": (272, 97), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430)},
    **{"fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442)},
    **{"name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "open_tree_attr": (467, 467)},
    **{"statmount": (457, 457), "listmount": (458, 458)},
    # other processes
    **{"ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271)},
    **{"process_madvise": (440, 440), "pidfd_getfd": (438, 438), "kcmp": (312, 272)},
    **{"move_pages": (279, 239), "migrate_pages": (256, 238)},
    # the kernel
    **{"bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425)},
    **{"io_uring_enter": (426, 426), "io_uring_register": (427, 427), "add_key": (248, 217)},
    **{"request_key": (249, 218), "keyctl": (250, 219), "init_module": (175, 105), "finit_module": (313, 273)},
    **{"delete_module": (176, 106), "create_module": (174, None), "kexec_load": (246, 104)},
    **{"kexec_file_load": (320, 294), "syslog": (103, 116), "lookup_dcookie": (212, 18), "nfsservctl": (180, 42)},
    **{"fanotify_init": (300, 262), "modify_ldt": (154, None), "uselib": (134, None), "_sysctl": (156, None)},
    # the machine
    **{"reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225), "acct": (163, 89), "quotactl": (179, 60)},
    **{"quotactl_fd": (443, 443), "settimeofday": (164, 170), "clock_settime": (227, 112)},
    **{"clock_adjtime": (305, 266), "adjtimex": (159, 171), "sethostname": (170, 161), "setdomainname": (171, 162)},
    **{"iopl": (172, None), "ioperm": (173, None), "vhangup": (153, 58)},
    # memory that no process of the program accounts for
    **{"shmget": (29, 194), "msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180)},
    **{"memfd_secret": (447, 447), "memfd_create": (319, 279)},
    # pages in a pipe outlive their mapping, and one of a huge page keeps all of it
    **{"vmsplice": (278, 75), "splice": (275, 76), "tee": (276, 77)},
    # of which all processes of the user share a few: a program that takes them all takes them from the trainer
    **{"io_setup": (206, 0), "inotify_init": (253, None), "inotify_init1": (294, 26)},
    # what would stay on files that outlive the program
    **{"file_setattr": (469, 469)},
}
_ATTRIBUTES = {
    **{"setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7), "removexattr": (197, 14)},
    **{"lremovexattr": (198, 15), "fremovexattr": (199, 16), "setxattrat": (463, 463), "removexattrat": (466, 466)},
}
"""Calls that change extended attributes, which would stay on files that outlive the program."""
_FALLOCATE, _SENDFILE = (285, 47), (40, 71)
_CLONE, _CLONE3, _SOCKET, _SOCKETPAIR = (56, 220), (435, 435), (41, 198), (53, 199)
_IOCTL, _PERSONALITY, _SECCOMP = (16, 29), (135, 92), (317, 277)
_MMAP, _CONNECT, _PRLIMIT, _FCNTL = (9, 222), (42, 203), (302, 261), (72, 25)
_SET_AFFINITY = (203, 122)
_PRCTL, _SCHED_CORE, _SET_DUMPABLE = (157, 167), 62, 4
"""prctl(2). PR_SCHED_CORE keeps others from the other threads of a core."""
_SET_LIMIT, _CORE = (160, 164), 4
"""setrlimit(2) and RLIMIT_CORE."""
_SET_OPTION, _SOL_SOCKET, _SEND_BUFFER = (54, 208), 1, 7
"""setsockopt(2), SOL_SOCKET and SO_SNDBUF."""
_OPENS = {"open": (2, None, 1), "openat": (257, 56, 2)}
"""Calls that open a file, and which argument has the flags."""
_OPENAT2, _TRUNCATE = (437, 437), (76, 45)
_ACCESS_AND_TRUNCATION, _TRUNCATION = 0o1003, 0o1000
"""O_ACCMODE | O_TRUNC, and what it leaves of a file that is opened for reading and emptied."""
_MODES_TIMES_AND_OWNERS = {
    **{"chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452)},
    **{"utime": (132, None), "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88)},
    **{"chown": (92, None), "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54)},
}
_OF_PROCESSES = {
    **{"sched_setscheduler": (144, 119), "sched_setparam": (142, 118)},
    **{"sched_setattr": (314, 274)},
}
"""Calls whose first argument is a process; 0 is the caller."""
_OF_KINDS_OF_PROCESSES = {"setpriority": (141, 140), "ioprio_set": (251, 30)}
"""Calls whose second argument is a process, a group or a user, depending on the first; 0 is the caller's."""

_TO_PROCESSES = {
    **{"kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138)},
    **{"rt_tgsigqueueinfo": (297, 240), "pidfd_open": (434, 434)},
}
"""Calls that send a signal to their first argument, or give a descriptor by which one is sent."""
_SIGNAL_OWNERS = (8, 15, 10)
"""F_SETOWN, F_SETOWN_EX and F_SETSIG: the kernel sends signals in the program's name, and which."""
_SIGNAL_OWNER_CONTROLS = (0x8901, 0x8902)
"""FIOSETOWN and SIOCSPGRP: the same by ioctl(2)."""

Instruction = tuple[int, int, int, int]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def supported() -> bool:
    """Whether there is a filter for this machine's processor and kernel."""
    if not (sys.platform == "linux" and sys.byteorder == "little" and os.uname().machine in _ARCHITECTURES):
        return False
    with open("/proc/self/status") as file:
        return any(line.startswith("Seccomp:") for line in file)


def restrict(own_root: bool, own_processes: bool, oldest: int | None = None, truncation: bool = False) -> None:
    """Put this process and its children under the filter. Needs `kernel.forbid_new_privileges` before.

    Args:
        own_root (`bool`): whether the sockets that it finds in the file system can only be its own.
        own_processes (`bool`): whether the processes that it can name can only be its own.
        oldest (`int`, *optional*): the program's process, if nothing else holds signals back. Processes with smaller numbers, as
            all that stand above it, then get none.
        truncation (`bool`): whether nothing else keeps files from being emptied that may be read (Landlock before version 3).
    """
    code = _filter(os.uname().machine, own_root, own_processes, oldest, truncation)
    program = _Program(len(code) // 8, code)
    column = list(_ARCHITECTURES).index(os.uname().machine)
    # Without the flag, kernels before 5.16 slow all of the program down as a measure against speculative execution.
    arguments = (_SET_MODE_FILTER, ctypes.c_uint(_FLAG_SPECULATION_ALLOWED), ctypes.byref(program))
    check(libc.syscall(ctypes.c_long(_SECCOMP[column]), *arguments), "seccomp")


def _filter(machine: str, own_root: bool, own_processes: bool, oldest: int | None, truncation: bool) -> bytes:
    instructions = _instructions(machine, own_root, own_processes, oldest, truncation)
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)


def _instructions(
    machine: str,
    own_root: bool = True,
    own_processes: bool = True,
    oldest: int | None = None,
    truncation: bool = False,
) -> Iterator[Instruction]:
    """The filter in classic BPF, for the architecture `machine`."""
    column = list(_ARCHITECTURES).index(machine)
    yield _LOAD, 0, 0, _OFFSET_ARCHITECTURE
    yield _EQUALS, 1, 0, _ARCHITECTURES[machine]
    yield _RETURN, 0, 0, _KILL_PROCESS  # the calls of another architecture (i386 on x86_64) have other numbers
    yield from _no_change_of_the_core_limit(column)
    yield _LOAD, 0, 0, _OFFSET_NUMBER
    if machine == "x86_64":
        yield from _unless(_AT_LEAST, _X32, errno.ENOSYS)
    # `cp -p`, `mv` and `install` go on only where a file system has no such attributes.
    for calls, error in ((_NUMBERS, errno.EPERM), (_ATTRIBUTES, errno.EOPNOTSUPP)):
        for numbers in calls.values():
            number = numbers[column]
            if number is not None:
                yield from _unless(_EQUALS, number, error)
    # Allocated space grows faster than the limits monitor can see. The C library then writes instead.
    yield from _unless(_EQUALS, _FALLOCATE[column], errno.EOPNOTSUPP)
    # As `splice`: a file's large page stays in a pipe when the file is gone. Python and others then copy by reading and writing.
    yield from _unless(_EQUALS, _SENDFILE[column], errno.ENOSYS)
    # Its flags lie in memory, out of sight; without it the C library uses clone(2).
    yield from _unless(_EQUALS, _CLONE3[column], errno.ENOSYS)
    yield from _only_if(_CLONE[column], 0, [*_unless(_ANY_BIT, _REFUSED_CLONES, errno.EPERM)])
    for call in (_SOCKET, _SOCKETPAIR):
        checks = [*_unless_not(_EQUALS, _AF_UNIX, errno.EACCES)]
        if not own_root:  # without a connection, these can send to any socket that has a name
            kind = _OFFSET_ARGUMENTS + 8
            checks += [(_LOAD, 0, 0, kind), (_AND, 0, 0, _SOCKET_KIND), (_EQUALS, 2, 0, _STREAM)]
            checks += _unless_not(_EQUALS, _SEQUENCE, errno.EACCES)
        yield from _only_if(call[column], 0, checks)
    if not own_root:
        yield from _unless(_EQUALS, _CONNECT[column], errno.EACCES)
        yield from _no_changes_of_files(column)
    # Larger buffers would hold more memory than the limits monitor takes them for. The program is told that it worked.
    of_sockets = [(_EQUALS, 1, 0, _SOL_SOCKET), (_RETURN, 0, 0, _ALLOW), (_LOAD, 0, 0, _OFFSET_ARGUMENTS + 16)]
    yield from _only_if(_SET_OPTION[column], 1, [*of_sockets, *_unless(_EQUALS, _SEND_BUFFER, 0)])
    if truncation:
        yield from _no_truncation(column)
    # Memory that lives on without a process that has it mapped, and huge pages, of which the machine has a few.
    shared = [(_ANY_BIT, 0, 2, _MAP_ANONYMOUS), *_unless(_ANY_BIT, _MAP_SHARED, errno.EPERM)]
    yield from _only_if(_MMAP[column], 3, [*_unless(_ANY_BIT, _MAP_HUGETLB, errno.ENOMEM), *shared])
    # Of both calls the kernel, too, reads only the low word of the second argument.
    for call, always, signals in (
        (_IOCTL, _REFUSED_CONTROLS, _SIGNAL_OWNER_CONTROLS),
        (_FCNTL, _OTHERS_WAIT, _SIGNAL_OWNERS),
    ):
        refused = always if oldest is None else (*always, *signals)
        denied = [instruction for request in refused for instruction in _unless(_EQUALS, request, errno.EPERM)]
        yield from _only_if(call[column], 1, denied)
    allowed = [(_EQUALS, len(_PERSONALITIES) - index, 0, kind) for index, kind in enumerate(_PERSONALITIES)]
    yield from _only_if(_PERSONALITY[column], 0, [*allowed, (_RETURN, 0, 0, _ERRNO | errno.EPERM)])
    # The limits monitor has no right to look at a process that hides itself.
    hiding = [
        (_EQUALS, 0, 3, _SET_DUMPABLE),
        (_LOAD, 0, 0, _OFFSET_ARGUMENTS + 8),
        *_unless_not(_EQUALS, 1, errno.EPERM),
    ]
    of_itself = [*_unless(_EQUALS, _SCHED_CORE, errno.EPERM), *hiding]
    yield from _only_if(_PRCTL[column], 0, of_itself)
    # On which cores a program runs is the sandbox's business (`limits.cpu_share`). It is told that it worked: honest programs
    # ask for cores of their own, by the number of a process or of a thread.
    yield from _unless(_EQUALS, _SET_AFFINITY[column], 0)
    if not own_processes:
        oneself = [*_unless_not(_EQUALS, 0, errno.EPERM)]
        for call in (_PRLIMIT, *_OF_PROCESSES.values()):
            yield from _only_if(call[column], 0, oneself)
        for call in _OF_KINDS_OF_PROCESSES.values():
            yield from _only_if(call[column], 1, oneself)
    if oldest is not None:
        yield from _no_signals_to_older(column, oldest)
    yield _RETURN, 0, 0, _ALLOW


def _no_signals_to_older(column: int, oldest: int) -> Iterator[Instruction]:
    """Refuse signals to processes with numbers below `oldest`, to their groups, and to all processes at once.

    A number is a process, 0 the own group, and -n the group of process n. As a word without a sign, -1 and the groups of older
    processes are the largest numbers.
    """
    refused = (_RETURN, 0, 0, _ERRNO | errno.EPERM)
    checks = [(_EQUALS, 3, 0, 0), (_AT_LEAST, 0, 1, oldest), (_AT_LEAST, 0, 1, 2**32 - oldest + 1), refused]
    for call in _TO_PROCESSES.values():
        yield from _only_if(call[column], 0, checks)


def _no_change_of_the_core_limit(column: int) -> Iterator[Instruction]:
    """Keep RLIMIT_CORE at 1 (see `rlimits`). The program is told that it worked. The next instruction has to load the number."""
    yield _LOAD, 0, 0, _OFFSET_NUMBER
    yield _EQUALS, 0, 3, _SET_LIMIT[column]
    yield _LOAD, 0, 0, _OFFSET_ARGUMENTS
    yield _EQUALS, 0, 1, _CORE
    yield _RETURN, 0, 0, _ERRNO
    yield _LOAD, 0, 0, _OFFSET_NUMBER
    yield _EQUALS, 0, 7, _PRLIMIT[column]
    yield _LOAD, 0, 0, _OFFSET_ARGUMENTS + 8
    yield _EQUALS, 0, 5, _CORE
    # Without new values, the call only reads.
    yield _LOAD, 0, 0, _OFFSET_ARGUMENTS + 16
    yield _EQUALS, 0, 2, 0
    yield _LOAD, 0, 0, _OFFSET_ARGUMENTS + 20
    yield _EQUALS, 1, 0, 0
    yield _RETURN, 0, 0, _ERRNO


def _no_changes_of_files(column: int) -> Iterator[Instruction]:
    """Leave modes, times and owners of all files as they are.

    Landlock does not hold these calls back, and the user owns the interpreter, the public files and the answers. The program is
    told that it worked, as `shutil.copy` and others change the mode of each file that they write, and `tar` as root the owner.
    """
    for numbers in _MODES_TIMES_AND_OWNERS.values():
        number = numbers[column]
        if number is not None:
            yield from _unless(_EQUALS, number, 0)


def _no_truncation(column: int) -> Iterator[Instruction]:
    """Keep files that are not open for writing from being emptied."""
    yield from _unless(_EQUALS, _TRUNCATE[column], errno.EACCES)
    # Its flags lie in memory, out of sight. The C library does not use it.
    yield from _unless(_EQUALS, _OPENAT2[column], errno.ENOSYS)
    emptied = [(_AND, 0, 0, _ACCESS_AND_TRUNCATION), *_unless(_EQUALS, _TRUNCATION, errno.EACCES)]
    for *numbers, flags in _OPENS.values():
        number = numbers[column]
        if number is not None:
            yield from _only_if(number, flags, emptied)


def _unless(comparison: int, value: int, error: int) -> Iterator[Instruction]:
    """Fail with `error` if the loaded word compares to `value`."""
    yield comparison, 0, 1, value
    yield _RETURN, 0, 0, _ERRNO | error


def _unless_not(comparison: int, value: int, error: int) -> Iterator[Instruction]:
    """Fail with `error` unless the loaded word compares to `value`."""
    yield comparison, 1, 0, value
    yield _RETURN, 0, 0, _ERRNO | error


def _only_if(number: int, argument: int, checks: list[Instruction]) -> Iterator[Instruction]:
    """For the call `number`: run `checks` on the low word of its argument, and allow the call if none of them fails."""
    yield _EQUALS, 0, len(checks) + 2, number
    yield _LOAD, 0, 0, _OFFSET_ARGUMENTS + 8 * argument
    yield from checks
    yield _RETURN, 0, 0, _ALLOW
