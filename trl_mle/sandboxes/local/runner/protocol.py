"""Messages between the host, its workers and the guest of a virtual machine: frozen dataclasses, which `frames` encodes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from .isolation.landlock import SCOPED_SIGNALS

NOT_TAKEN = 5
"""Exit code of a worker that ended before it took the program that the host may have sent meanwhile."""

Status = Literal["ok", "error", "timeout", "memory", "output", "killed"]
"""The same values as `trl_mle.types.ExecutionStatus`."""


@dataclass(frozen=True)
class Layers:
    """What confines the programs of one worker."""

    landlock: int = 0
    """Version of Landlock; 0 if the kernel has none."""
    namespaces: bool = False
    """Own user, PID, network and IPC namespaces."""
    private_root: bool = False
    """Own mount namespace, in which only the files exist that programs need."""
    private_proc: bool = False
    """Own `/proc`, which shows only the program's processes."""
    seccomp: bool = False
    """A filter of system calls."""
    privileges: bool = False
    """No capabilities and no way to new ones."""

    @property
    def signals(self) -> bool:
        """Whether programs can send no signal to processes outside."""
        return self.namespaces or self.landlock >= SCOPED_SIGNALS

    @property
    def proc(self) -> str:
        """Which `/proc` a private root has: `"own"`, `"machine"` or `"none"`.

        The machine's `/proc` shows all processes, and through them all files, so Landlock must guard it.
        """
        return "own" if self.private_proc else "machine" if self.landlock else "none"


@dataclass(frozen=True)
class Message:
    """Base of all messages."""


@dataclass(frozen=True)
class WorkerSettings(Message):
    """Host to worker, once: how the worker is set up."""

    folder: str
    """The worker's own folder."""
    host_pid: int
    """Process with which the worker ends."""
    preload: tuple[str, ...]
    """Modules to import before the first program."""
    without: tuple[str, ...]
    """Layers to treat as missing; for tests of the fall-backs."""
    in_memory: bool
    """Whether programs' folders are kept in memory, if mounts work."""
    number: int = 0
    """Number of the worker among those of its machine, from 0; neighbours keep to other cores."""


@dataclass(frozen=True)
class WorkerReady(Message):
    """Worker to host: programs can come."""

    layers: Layers
    python: str = ""
    """Version of the interpreter."""


@dataclass(frozen=True)
class WorkerUnusable(Message):
    """Worker to host: a module of `WorkerSettings.preload` cannot be imported. The worker ends."""

    reason: str


@dataclass(frozen=True)
class Stop(Message):
    """Host to worker: end, with the program that runs."""


@dataclass(frozen=True)
class TaskFiles(Message):
    """Host to worker, before each program: what programs of the task may import and open."""

    packages: tuple[str, ...]
    """Distributions that the task allows."""
    hidden: tuple[str, ...]
    """Paths that stay unreadable even if a system folder holds them."""
    public: str
    """The folder of the task's public files."""


@dataclass(frozen=True)
class ProgramLimits(Message):
    """The fields of `trl_mle.types.Limits`, which explains them."""

    wall_s: float
    memory_bytes: int
    processes: int
    file_bytes: int
    work_bytes: int
    output_bytes: int
    submission_bytes: int
    threads: int
    early_exit: float = 0.0
    keep_bytes: int = 0


@dataclass(frozen=True)
class ProgramRequest(Message):
    """Host to supervisor: one program. The worker itself never reads it."""

    code: str
    """What runs."""
    source: str
    """What the program finds as its own file; `code` is a copy with statements added."""
    public: str
    """The folder of the task's public files."""
    limits: ProgramLimits
    files: dict[str, bytes] = field(default_factory=dict)
    """Name -> content of the files that lie in the program's folder when it starts."""


@dataclass(frozen=True)
class ProgramStart(Message):
    """Supervisor to the program's process: the program, once its namespaces are ready."""

    request: ProgramRequest
    work: str
    """The program's folder, as the program sees it."""


@dataclass(frozen=True)
class ProgramResult(Message):
    """Supervisor to host: what happened. The fields are those of `trl_mle.types.Execution`."""

    status: Status
    exit_code: int | None
    wall_s: float
    cpu_s: float
    max_rss_bytes: int
    stdout: bytes
    stderr: bytes
    stdout_cut_bytes: int
    stderr_cut_bytes: int
    submission: bytes | None
    submission_reason: str | None
    files: dict[str, bytes] = field(default_factory=dict)
    files_cut: int = 0


@dataclass(frozen=True)
class ProgramFault(Message):
    """Supervisor or guest to host: the sandbox, not the program, failed."""

    reason: str
    may_have_started: bool
    """Whether the first line of the program may have run. Otherwise the program may be given to a sandbox again."""
    lasting: bool
    """Whether every program of the task would fail in this way. The worker that says so can go on."""
    process_died: bool = False
    """Whether a process of the sandbox ended, or stopped answering, while the program ran."""
    cpu_s: float = 0.0
    """CPU seconds of the program as far as the limits monitor has seen them."""


Reply = ProgramResult | ProgramFault


@dataclass(frozen=True)
class InitReady(Message):
    """Report of init: the namespaces and the private root are ready."""


@dataclass(frozen=True)
class ProgramStarted(Message):
    """Report of the program's process, just before the first line of the program."""

    at: float
    """Monotonic seconds."""
    setup_cpu_s: float
    """CPU seconds that the process has used so far."""


@dataclass(frozen=True)
class ProgramEnded(Message):
    """Report of the fork server: the program has ended. Processes that it has started may go on for a moment."""

    at: float
    """Monotonic seconds."""
    exit_code: int | None
    """`None` if the fork server was asked to stop the program."""
    cpu_s: float
    """CPU seconds of all processes that a parent has waited for."""
    max_rss_bytes: int
    """Largest resident memory of one process."""


@dataclass(frozen=True)
class AllEnded(Message):
    """Report of init, or of the fork server if there are no namespaces: every process of the program has ended."""

    orphans_cpu_s: float
    """CPU seconds of the processes that outlived the program or their own parent."""


@dataclass(frozen=True)
class SetupFailed(Message):
    """Report of any process of the sandbox: the program could not be started."""

    reason: str


Report = InitReady | ProgramStarted | ProgramEnded | AllEnded | SetupFailed


@dataclass(frozen=True)
class GuestSettings(Message):
    """Host to guest, once: how the guest of a virtual machine sets up its workers."""

    preload: tuple[str, ...]
    without: tuple[str, ...]
    startup_s: float
    """Longest time until a worker is ready, in seconds."""
    session_s: float
    """Time after which the guest ends by itself, in seconds."""


@dataclass(frozen=True)
class GuestReady(Message):
    """Guest to host: what the virtual machine is, and whether programs can come."""

    python: str
    """Version of the interpreter."""
    loop_s: float
    """CPU seconds of a fixed loop."""
    cores: int
    memory_bytes: int
    answer: WorkerReady | WorkerUnusable | ProgramFault


@dataclass(frozen=True)
class GuestRequest(Message):
    """Host to guest: one program with the files of its task."""

    secret: str
    """Comes back with the reply, so that no program can forge one."""
    timeout_s: float
    """Longest wait for the worker's reply, in seconds."""
    files: TaskFiles
    program: ProgramRequest


@dataclass(frozen=True)
class GuestReply(Message):
    """Guest to host: the reply to one program."""

    secret: str
    reply: ProgramResult | ProgramFault
