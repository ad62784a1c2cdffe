"""The layers of isolation that this machine offers, found by trying them in a throw-away process."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Collection
from functools import partial
from typing import NoReturn

from ..protocol import Layers
from . import kernel, landlock, mounts, namespaces, private_root, seccomp
from .root_steps import root_steps

_MISSING = 2
"""Exit code of a process that found a layer missing: an answer, not a fault."""
_COMBINATIONS = (("namespaces", "private_root", "private_proc"), ("namespaces", "private_root"), ("namespaces",))


def probe(scratch: str, without: Collection[str] = ()) -> Layers:
    """The layers that work on this machine, except those named in `without`.

    Args:
        scratch (`str`): a writable folder for the throw-away processes.
        without (`Collection[str]`): names of fields to treat as missing; for tests of the fall-backs. `"signals"` stands
            for a kernel whose Landlock does not hold signals back, `"truncation"` for one on which it does not do so with
            truncation.
    """
    if not kernel.LINUX:
        return Layers()
    working: tuple[str, ...] = ()
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        for name in ("root", "public"):
            os.mkdir(os.path.join(folder, name))
        # Each layer needs the ones before it: the first combination that works has the most layers.
        for names in _COMBINATIONS:
            if not set(names) & set(without) and _works(partial(_enter, names, folder)):
                working = names
                break
    version = 0 if "landlock" in without else landlock.abi()
    for name, since in (("signals", landlock.SCOPED_SIGNALS), ("truncation", landlock.TRUNCATION)):
        if name in without:
            version = min(version, since - 1)
    return Layers(
        landlock=version,
        namespaces="namespaces" in working,
        private_root="private_root" in working,
        private_proc="private_proc" in working,
        seccomp="seccomp" not in without and seccomp.supported() and _works(_filter),
        privileges=True,
    )


def _enter(names: tuple[str, ...], folder: str) -> None:
    """Take the steps of a program into its namespaces, in this process and two below it."""
    own_root = "private_root" in names
    namespaces.unshare_user()
    kernel.signal_on_parent_death(signal.SIGKILL)
    ready, announce = os.pipe()
    supervisor = os.fork()
    if supervisor == 0:
        _exit_code(partial(_make_namespaces, names, folder, announce))
    os.close(announce)
    message = os.read(ready, 20)
    # No process number: init could not be made. `_check` raises if the supervisor was killed, which says nothing.
    if not message:
        _check(os.waitpid(supervisor, 0)[1])
        raise OSError("the namespaces cannot be made")
    owner = os.pidfd_open(int(message))
    namespaces.enter_processes(owner)
    # Entering may fail by itself, for example under a filter of system calls.
    if not _works(partial(namespaces.enter, owner, own_root)):
        raise OSError("the namespaces can be made but not entered")
    signal.pidfd_send_signal(owner, signal.SIGKILL)
    os.waitpid(supervisor, 0)


def _make_namespaces(names: tuple[str, ...], folder: str, announce: int) -> None:
    own_root = "private_root" in names
    namespaces.unshare(own_root)
    kernel.signal_on_parent_death(signal.SIGKILL)
    work = mounts.in_memory(1 << 16, 100) if own_root else -1
    ready, made = os.pipe()
    pid = os.fork()
    if pid == 0:
        _exit_code(partial(_run_as_init, names, folder, work, made))
    os.close(made)
    if os.read(ready, 1):
        os.write(announce, str(pid).encode())
    os.close(announce)
    os.waitpid(pid, 0)


def _run_as_init(names: tuple[str, ...], folder: str, work: int, made: int) -> None:
    if os.getpid() != 1:
        raise OSError("not the first process of a PID namespace")
    kernel.signal_on_parent_death(signal.SIGKILL)
    if "private_root" in names:
        links = public = os.path.join(folder, "public")
        steps = root_steps(("/usr",), (), links)
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
    """Whether a process succeeded. A process that was killed has shown nothing about this machine."""
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, _MISSING):
        raise RuntimeError(f"a process that tries out the layers of isolation ended with exit code {code}")
    return code == 0


def _exit_code(action: Callable[[], None]) -> NoReturn:
    code = 1
    try:
        # Nothing that is tried out outlives the worker.
        kernel.signal_on_parent_death(signal.SIGKILL)
        action()
        code = 0
    except OSError:
        code = _MISSING
    finally:
        os._exit(code)
