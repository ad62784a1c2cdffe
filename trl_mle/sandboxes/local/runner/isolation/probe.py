"""Which layers of isolation this machine offers, found by trying them in a throw-away process."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import NoReturn

from . import kernel, landlock, mounts, namespaces, private_root, seccomp


@dataclass(frozen=True)
class Layers:
    """What confines the programs of one worker."""

    landlock: int = 0
    """Version of Landlock; 0 where the kernel has none."""
    namespaces: bool = False
    """Own user, PID, network and IPC namespaces."""
    private_root: bool = False
    """Own mount namespace, in which nothing exists but what programs need."""
    private_proc: bool = False
    """Own `/proc`, which shows the program's processes alone."""
    seccomp: bool = False
    """A filter of system calls."""
    privileges: bool = False
    """No capabilities and no way to new ones."""

    @property
    def proc(self) -> str:
        """Which `/proc` a private root has: the machine's shows all processes, and through them all files, without Landlock."""
        return "own" if self.private_proc else "machine" if self.landlock else "none"


_MISSING = 2
"""Exit code of a process that found a layer missing, which is an answer and not a fault."""
_STEPS = (("namespaces", "private_root", "private_proc"), ("namespaces", "private_root"), ("namespaces",))


def probe(scratch: str, without: Collection[str] = ()) -> Layers:
    """The layers that work here, none of those named in `without`.

    Args:
        scratch (`str`): a writable folder for the throw-away processes.
        without (`Collection[str]`): names of fields to treat as missing; for tests of the fall-backs.
    """
    if not kernel.LINUX:
        return Layers()
    found: tuple[str, ...] = ()
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        for name in ("root", "public"):
            os.mkdir(os.path.join(folder, name))
        for names in _STEPS:
            if not set(names) & set(without) and _works(partial(_enter, names, folder)):
                found = names
                break
    return Layers(
        landlock=0 if "landlock" in without else landlock.abi(),
        namespaces="namespaces" in found,
        private_root="private_root" in found,
        private_proc="private_proc" in found,
        seccomp="seccomp" not in without and seccomp.supported() and _works(_filter),
        privileges=True,
    )


def _enter(names: tuple[str, ...], folder: str) -> None:
    """Go the way of a program, in this process and two below it."""
    own_root = "private_root" in names
    namespaces.unshare_user()
    kernel.signal_on_parent_death(signal.SIGKILL)
    ready, told = os.pipe()
    keeper = os.fork()
    if keeper == 0:
        _exit_code(partial(_own, names, folder, told))
    os.close(told)
    message = os.read(ready, 20)
    if not message:
        _check(os.waitpid(keeper, 0)[1])
        raise OSError("the namespaces cannot be made")
    owner = os.pidfd_open(int(message))
    namespaces.enter_processes(owner)
    if not _works(partial(namespaces.enter, owner, own_root)):
        raise OSError("the namespaces can be made but not entered")
    signal.pidfd_send_signal(owner, signal.SIGKILL)
    os.waitpid(keeper, 0)


def _own(names: tuple[str, ...], folder: str, told: int) -> None:
    own_root = "private_root" in names
    namespaces.unshare(own_root)
    kernel.signal_on_parent_death(signal.SIGKILL)
    work = mounts.in_memory(1 << 16, 100) if own_root else -1
    ready, made = os.pipe()
    pid = os.fork()
    if pid == 0:
        _exit_code(partial(_be_first, names, folder, work, made))
    os.close(made)
    if os.read(ready, 1):
        os.write(told, str(pid).encode())
    os.close(told)
    os.waitpid(pid, 0)


def _be_first(names: tuple[str, ...], folder: str, work: int, made: int) -> None:
    if os.getpid() != 1:
        raise OSError("not the first process of a PID namespace")
    kernel.signal_on_parent_death(signal.SIGKILL)
    if "private_root" in names:
        linked = public = os.path.join(folder, "public")
        steps = private_root.plan(("/usr",), (), linked)
        private_root.enter(
            steps, os.path.join(folder, "root"), work, public, proc="own" if "private_proc" in names else "none"
        )
    os.write(made, b"+")
    signal.pause()


def _filter() -> None:
    kernel.forbid_new_privileges()
    seccomp.restrict(own_root=False, own_processes=False)


def _works(action: Callable[[], None]) -> bool:
    pid = os.fork()
    if pid == 0:
        _exit_code(action)
    return _check(os.waitpid(pid, 0)[1])


def _check(status: int) -> bool:
    """Whether a process succeeded; one that was killed has shown nothing about this machine."""
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, _MISSING):
        raise RuntimeError(f"a process that tries out the layers of isolation ended with exit code {code}")
    return code == 0


def _exit_code(action: Callable[[], None]) -> NoReturn:
    code = 1
    try:
        kernel.signal_on_parent_death(signal.SIGKILL)
        action()
        code = 0
    except OSError:
        code = _MISSING
    finally:
        os._exit(code)
