"""What is known of one program before its processes are made."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass

from ..isolation.probe import Layers
from ..limits.workdir import Work
from ..policy import Settled


@dataclass(frozen=True)
class Worker:
    """What a worker is, as its forks know it."""

    pid: int
    zygote_pid: int
    zygote: socket.socket
    """The way to it."""
    folder: str
    """Its own on the machine."""
    layers: Layers
    in_memory: bool
    """Whether programs' folders are kept in memory, where mounts work."""

    @property
    def root(self) -> str:
        """An empty folder, where each program's private root is put together, unseen by others."""
        return os.path.join(self.folder, "root")


@dataclass(frozen=True)
class Plan:
    """One program and what holds for it, before its processes are made."""

    work: Work
    public: str
    """The task's public files."""
    settled: Settled
    worker: Worker
    reports: int
    """Write end of the pipe on which the processes of the sandbox report to the keeper; never the program's."""


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
