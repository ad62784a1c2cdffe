"""Which layers of isolation this machine offers, found by trying them in a throw-away process."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial

from . import kernel, landlock, mounts, namespaces, seccomp, view


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
    """Enter the namespaces in this process, which is good for nothing else afterwards, and prove them in a child."""
    namespaces.unshare(with_mounts="private_root" in names)
    work = mounts.in_memory(1 << 16, 100) if "private_root" in names else -1
    if not _works(partial(_use, names, folder, work)):
        raise OSError("the namespaces can be made but not used")


def _use(names: tuple[str, ...], folder: str, work: int) -> None:
    if os.getpid() != 1:
        raise OSError("not the first process of a PID namespace")
    if "private_root" in names:
        linked = public = os.path.join(folder, "public")
        steps = view.plan(("/usr",), (), linked)
        view.enter(steps, os.path.join(folder, "root"), work, public, private_proc="private_proc" in names)


def _filter() -> None:
    kernel.forbid_new_privileges()
    seccomp.restrict()


def _works(action: Callable[[], None]) -> bool:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            action()
            code = 0
        except OSError:
            code = 2  # the answer of the probe, not a fault
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1] == 0
