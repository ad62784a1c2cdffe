"""Which layers of isolation this machine offers, found by trying them in a throw-away process."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass

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

    def as_dict(self) -> dict[str, int | bool]:
        return asdict(self)


def probe(scratch: str, without: Collection[str] = ()) -> Layers:
    """The layers that work here, none of those named in `without`.

    Args:
        scratch (`str`): a writable folder for the throw-away process.
        without (`Collection[str]`): names of fields to treat as missing; for tests of the fall-backs.
    """
    if not kernel.LINUX:
        return Layers()
    found = {"namespaces": False, "mounts": False, "private_proc": False}
    for names in (("namespaces", "mounts", "private_proc"), ("namespaces", "mounts"), ("namespaces",)):
        if not set(names) & set(without) and _works(lambda names=names: _try(names, scratch)):
            found.update(dict.fromkeys(names, True))
            break
    return Layers(landlock=0 if "landlock" in without else landlock.abi(), privileges=True, **found)


def _try(names: tuple[str, ...], scratch: str) -> None:
    """Enter the namespaces in this process, which is lost for anything else, and prove it in a child."""
    mounts = "mounts" in names
    work = tempfile.mkdtemp(dir=scratch)
    os.mkdir(os.path.join(work, "input"))
    namespaces.unshare(mounts)

    def inside() -> None:
        if mounts:
            namespaces.mount_private_view(work, "/usr", "private_proc" in names)
        if os.getpid() != 1:
            raise OSError("not in an own PID namespace")

    if not _works(inside):
        raise OSError("the namespaces can be made but not used")


def _works(action: Callable[[], None]) -> bool:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            action()
            code = 0
        except OSError:
            code = 1  # the answer of this probe, not a fault
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1] == 0


def clear_probe(scratch: str) -> None:
    """Remove what `probe` left in `scratch`."""
    for entry in os.scandir(scratch):
        shutil.rmtree(entry.path)
