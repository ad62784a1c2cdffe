"""Resource limits of the kernel: a backstop beneath the limits monitor, which sees all processes of a program together."""

from __future__ import annotations

import math
import os
import resource

from ..protocol import ProgramLimits

OPEN_FILES = 768
"""Descriptors of one process. The kernel counts those on the way through sockets per user and refuses more than a sender may have
open. With one message more (253), this number stays below 1024, which is what the trainer and others often may have."""
_WORKER_OPEN_FILES = 8192
_PER_USER = {"RLIMIT_SIGPENDING": 1024, "RLIMIT_MSGQUEUE": 0, "RLIMIT_RTPRIO": 0, "RLIMIT_NICE": 0}
"""Limits of what the kernel counts per user, so that a program could use up the share of the trainer, and of priorities."""
_OF_THE_SANDBOX = 4
"""Number of processes of the sandbox in the program's user namespace."""
_SPARE_CPU_S = 10
_SPARE_BYTES = 1024**3


def apply(limits: ProgramLimits, own_user: bool) -> None:
    """Set the limits of this process and its children.

    Args:
        limits (`ProgramLimits`): those of the program.
        own_user (`bool`): whether this process has a user namespace of its own, so that only its processes count.
    """
    cpu_s = math.ceil(limits.wall_s) * (os.cpu_count() or 1) + _SPARE_CPU_S
    _lower(resource.RLIMIT_CPU, cpu_s, cpu_s + 5)
    _lower(resource.RLIMIT_FSIZE, limits.file_bytes)
    _lower(resource.RLIMIT_NOFILE, OPEN_FILES)
    # Not 0: the kernel then still hands a dump to a program that collects them (`core_pattern`), which keeps it on disk.
    _lower(resource.RLIMIT_CORE, 1)
    # Not RLIMIT_AS: numerical libraries reserve far more addresses than they use.
    _lower(resource.RLIMIT_DATA, 2 * limits.memory_bytes + _SPARE_BYTES)
    for name, value in _PER_USER.items():
        if hasattr(resource, name):  # not on every system
            _lower(getattr(resource, name), value)
    if own_user and os.getuid() != 0:  # the kernel does not count root's processes
        _lower(resource.RLIMIT_NPROC, limits.processes + _OF_THE_SANDBOX)


def bound_open_files() -> None:
    """Let this process have more open files than any program: descriptors that programs have on the way count against its own.

    Not more than that: some containers allow a billion, and where Python lacks close_range(2), each program closes every number.
    """
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = _WORKER_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _WORKER_OPEN_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _lower(kind: int, soft: int, hard: int | None = None) -> None:
    """Set a limit, but never above the present hard limit."""
    most = resource.getrlimit(kind)[1]
    values = [
        value if most == resource.RLIM_INFINITY else min(value, most)
        for value in (soft, soft if hard is None else hard)
    ]
    resource.setrlimit(kind, (values[0], values[1]))
