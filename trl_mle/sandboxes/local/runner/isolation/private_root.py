"""The private root of one program: it holds the files of the machine that a program needs, and nothing else exists.

Each program's first process carries out the steps of `root_steps` in a mount namespace of its own.
"""

from __future__ import annotations

import os

from . import mounts, namespaces
from .root_steps import WORK, WRITABLE_BYTES, WRITABLE_DIRECTORIES, Step


def enter(steps: tuple[Step, ...], at: str, work: int, public: str, proc: str) -> None:
    """Let this process and its children live in the private root of `steps`, read-only except their own folders.

    The process needs a user namespace of its own and gets a mount namespace.

    Args:
        steps (`tuple[Step, ...]`): from `root_steps`.
        at (`str`): an empty folder, the same for all programs of a worker: nothing appears there for others.
        work (`int`): descriptor of the unattached mount that becomes `WORK`.
        public (`str`): the task's public files, shown as `WORK/input`.
        proc (`str`): `"own"` for that of the namespaces, `"machine"` for the machine's, which Landlock must guard, or
            `"none"`.
    """
    namespaces.unshare_mounts()
    mounts.temporary(at, "size=1m,mode=755")
    for step in steps:
        _carry_out(step, at + step.path)
    if proc == "own":
        mounts.processes(f"{at}/proc")
        namespaces.bound_processes(f"{at}/proc")
    elif proc == "machine":
        mounts.bind("/proc", f"{at}/proc")
    # A descriptor, because the supervisor made the mount and reads the submission from it.
    mounts.attach(work, at + WORK)
    os.mkdir(f"{at}{WORK}/input", 0o755)
    mounts.bind(public, f"{at}{WORK}/input")
    # Read-only with all that is mounted below, then the own folders alone writable again.
    mounts.make_read_only(at)
    for path in (*WRITABLE_DIRECTORIES, WORK):
        mounts.make_writable(at + path)
    mounts.become_root(at)


def _carry_out(step: Step, path: str) -> None:
    if step.action == "folder":
        os.mkdir(path, 0o755)
    elif step.action == "link":
        os.symlink(step.source, path)
    elif step.action == "file":
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))
    elif step.action == "show":
        mounts.bind(step.source, path)
    elif step.action == "writable":
        mounts.temporary(path, f"size={WRITABLE_BYTES},nr_inodes=10k,mode=1777")
    else:  # `hide`: small, for it holds only the mount points of what is shown inside
        mounts.temporary(path, "size=1m,mode=755")
