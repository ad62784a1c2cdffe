"""Which layers of isolation this machine offers, found by trying them in a throw-away process."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial

from . import kernel, landlock, namespaces


@dataclass(frozen=True)
class Layers:
    """What confines the programs of one worker."""

    landlock: int = 0
    """Version of Landlock; 0 where the kernel has none."""
    namespaces: bool = False
    """Own user, PID, network and IPC namespaces."""
    mounts: bool = False
    """Own mount namespace with a read-only root."""
    private_proc: bool = False
    """Own `/proc`, which shows the program's processes alone."""
    privileges: bool = False
    """No capabilities and no way to new ones."""


_STEPS = (("namespaces", "mounts", "private_proc"), ("namespaces", "mounts"), ("namespaces",))


def probe(scratch: str, without: Collection[str] = ()) -> Layers:
    """The layers that work here, none of those named in `without`.

    Args:
        scratch (`str`): a writable folder for the throw-away processes.
        without (`Collection[str]`): names of fields to treat as missing; for tests of the fall-backs.
    """
    if not kernel.LINUX:
        return Layers()
    found: tuple[str, ...] = ()
    with tempfile.TemporaryDirectory(dir=scratch) as work:
        os.mkdir(os.path.join(work, "input"))
        for names in _STEPS:
            if not set(names) & set(without) and _works(partial(_enter, names, work)):
                found = names
                break
    return Layers(
        landlock=0 if "landlock" in without else landlock.abi(),
        namespaces="namespaces" in found,
        mounts="mounts" in found,
        private_proc="private_proc" in found,
        privileges=True,
    )


def _enter(names: tuple[str, ...], work: str) -> None:
    """Enter the namespaces in this process, which is good for nothing else afterwards, and prove them in a child."""
    namespaces.unshare(mounts="mounts" in names)
    if not _works(partial(_use, names, work)):
        raise OSError("the namespaces can be made but not used")


def _use(names: tuple[str, ...], work: str) -> None:
    if os.getpid() != 1:
        raise OSError("not the first process of a PID namespace")
    if "mounts" in names:
        namespaces.mount_private_view(work, "/usr", private_proc="private_proc" in names)


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
