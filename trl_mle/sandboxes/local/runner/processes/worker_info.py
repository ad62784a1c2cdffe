"""What the forks of a worker know of it, and what init needs to set up the namespaces of one program."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

from ..limits.workdir import WorkFolder
from ..policy import TaskPolicy
from ..protocol import Layers


@dataclass(frozen=True)
class WorkerInfo:
    """A worker, as its forks know it."""

    pid: int
    fork_server_pid: int
    fork_server: socket.socket
    """Connection to the fork server."""
    folder: str
    """The worker's own folder on the machine."""
    layers: Layers
    in_memory: bool
    """Whether programs' folders are kept in memory, if mounts work."""
    number: int
    """Number of the worker among those of its host."""

    @property
    def root(self) -> str:
        """An empty folder, where each program's private root is put together, unseen by others."""
        return os.path.join(self.folder, "root")


@dataclass(frozen=True)
class InitSetup:
    """What init needs to make the namespaces and the private root of one program."""

    work: WorkFolder
    public: str
    """The task's public files."""
    policy: TaskPolicy
    worker: WorkerInfo
    reports: int
    """Write end of the pipe on which the processes of the sandbox report to the supervisor."""
