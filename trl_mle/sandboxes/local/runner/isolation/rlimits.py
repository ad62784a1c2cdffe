"""Resource limits of the kernel: a backstop beneath the limits monitor, which sees all processes of a program together."""

from __future__ import annotations

import math
import os
import resource

from ..protocol import ProgramLimits

OPEN_FILES = 1024
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
    _lower(resource.RLIMIT_CORE, 0)
    # Not RLIMIT_AS: numerical libraries reserve far more addresses than they use.
    _lower(resource.RLIMIT_DATA, 2 * limits.memory_bytes + _SPARE_BYTES)
    if own_user and os.getuid() != 0:  # the kernel does not count root's processes
        _lower(resource.RLIMIT_NPROC, limits.processes + _OF_THE_SANDBOX)


def _lower(kind: int, soft: int, hard: int | None = None) -> None:
    """Set a limit, but never above the present hard limit."""
    most = resource.getrlimit(kind)[1]
    values = [value if most == resource.RLIM_INFINITY else min(value, most) for value in (soft, hard or soft)]
    resource.setrlimit(kind, (values[0], values[1]))
