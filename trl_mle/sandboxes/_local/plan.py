"""What a worker knows of one program before it forks."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

from .grants import Grant
from .layers import Layers
from .packages import AllowedPackages


@dataclass(frozen=True)
class Plan:
    """One program and what holds for it."""

    code: str
    work: str
    """Its private folder, fresh."""
    public: str
    """The task's public files."""
    limits: dict[str, Any]
    """Fields of `trl_mle.types.Limits`."""
    packages: AllowedPackages
    linked: str
    """Folder of links to them."""
    grants: list[Grant]
    """Grants that do not depend on the program."""
    layers: Layers
    worker_pid: int
    stdout: int
    stderr: int
    """Write ends of the pipes for output."""
    reports: int
    """Write end of the pipe on which the processes of the sandbox report to the worker; never the program's."""


def report(descriptor: int, **message: object) -> None:
    """Write one line of JSON, short enough to be atomic."""
    os.write(descriptor, json.dumps(message).encode("ascii")[:4000] + b"\n")


def keep_descriptors(*kept: int) -> None:
    """Close every descriptor from 3 on that is not one of `kept`."""
    first = 3
    for descriptor in sorted(kept):
        os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, os.sysconf("SC_OPEN_MAX"))
