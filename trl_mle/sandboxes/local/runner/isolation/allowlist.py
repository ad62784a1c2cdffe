"""What a program may open: interpreter, system libraries, allowed packages, public files, its own folder."""

from __future__ import annotations

import glob
import os
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from functools import lru_cache

from ..interpreter.packages import AllowedPackages
from .landlock import ALL, DEVICE, READ, READ_DIR, READ_FILE, RUN
from .private_root import ROOMS, Step

Grant = tuple[str, int]

_SYSTEM = (
    *("/bin", "/usr/bin", "/usr/local/bin", "/usr/share"),
    *("/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/local/lib"),
)
_SYSTEM_FILES = (
    *("/etc/ld.so.cache", "/etc/localtime", "/etc/timezone", "/etc/nsswitch.conf"),
    # How many cores there are: asked by joblib, OpenMP and `os.cpu_count`.
    *("/sys/devices/system/cpu", "/sys/fs/cgroup/cpu.max"),
    *("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu/cpu.cfs_period_us"),
)
_DEVICES = ("/dev/null", "/dev/full")
_RANDOM = ("/dev/urandom", "/dev/random")
_HARMLESS_PROC = ("/proc/cpuinfo", "/proc/meminfo", "/proc/stat")
_OF_THE_MACHINE = frozenset({"net", "mounts", "mountinfo", "mountstats"})
"""What of `/proc/self` tells about the machine, where namespaces are shared with it."""


def of_packages(packages: AllowedPackages, hidden: tuple[str, ...]) -> list[Grant]:
    """Grants that are the same for every program of a task, where there is no private root.

    Args:
        packages (`AllowedPackages`): what may be imported.
        hidden (`tuple[str, ...]`): further paths that must stay unreadable even if a system folder holds them.
    """
    out_of_reach = {os.path.realpath(path) for path in to_hide(packages, hidden)}
    grants = [(path, RUN) for root in (*_SYSTEM, *_interpreter()) for path in carve(root, out_of_reach)]
    grants += [(path, READ_DIR) for path in library_folders()]
    data = {os.path.realpath(path) for path in packages.hidden}
    for root, _ in packages.entries:
        grants += [(path, RUN) for path in carve(root, data)]
        if os.path.isdir(root):
            grants.append((root, READ_DIR))
    grants += [(path, READ) for path in _SYSTEM_FILES]
    grants += [(path, DEVICE) for path in _DEVICES] + [(path, READ_FILE) for path in _RANDOM]
    merged: dict[str, int] = {}
    for path, rights in grants:
        merged[path] = merged.get(path, 0) | rights
    return list(merged.items())


def to_show(packages: AllowedPackages) -> tuple[str, ...]:
    """What of the machine a private root holds for programs that may import `packages`."""
    return (*_SYSTEM, *_interpreter(), *(path for path, _ in packages.entries), *_SYSTEM_FILES)


def to_hide(packages: AllowedPackages, hidden: tuple[str, ...]) -> tuple[str, ...]:
    """What of the machine must not be seen: all other packages, data inside of packages, and `hidden`."""
    return (*package_folders(), *hidden, *packages.hidden)


def of_view(steps: Iterable[Step], own_proc: bool) -> list[Grant]:
    """Grants that are the same for every program of a task, in the private root of `steps`: it is all there is."""
    grants = [(path, DEVICE) for path in _DEVICES] + [(path, READ_FILE) for path in _RANDOM]
    if own_proc:
        return [("/", RUN), *grants]
    return [(step.path, RUN) for step in steps if step.action == "show"] + grants


def of_program(work: str, public: str, own_root: bool, own_proc: bool) -> list[Grant]:
    """Grants of one program: `work` to write, `public` to read.

    `/dev/shm` (semaphores of `multiprocessing`) and the whole `/proc` are granted only where they are the program's
    own; the host's would show other processes and their shared memory.
    """
    grants = [(work, ALL), (os.path.join(work, "input") if own_root else public, READ)]
    if own_root:
        grants += [(path, ALL) for path in ROOMS]
    if own_proc:
        return [*grants, ("/proc", READ)]
    # Not the links to its root and folder: a grant would be one of what they name.
    entries = (entry for entry in os.scandir("/proc/self") if not entry.is_symlink())
    own = [entry.path for entry in entries if entry.name not in _OF_THE_MACHINE]
    return [*grants, ("/proc/self", READ_DIR), *((path, READ) for path in (*_HARMLESS_PROC, *own))]


def carve(path: str, hidden: Iterable[str]) -> Iterator[str]:
    """`path`, or where it holds one of `hidden` (real paths), all beneath it that does not.

    Landlock has no exceptions below a granted folder, so its other entries are granted one by one.
    """
    path = os.path.realpath(path)
    if path in hidden or not os.path.exists(path):
        return
    if any(secret.startswith(path + os.sep) for secret in hidden):
        for entry in os.scandir(path):
            if not entry.is_symlink():  # what a link names is granted where it lies, if at all
                yield from carve(entry.path, hidden)
    else:
        yield path


def _interpreter() -> list[str]:
    return [
        sys.executable,
        os.path.realpath(sys.executable),
        os.path.join(sys.prefix, "bin"),
        os.path.join(sys.prefix, "pyvenv.cfg"),
        os.path.join(sys.base_prefix, "bin"),
        os.path.join(sys.base_prefix, "lib"),
        *library_folders(),
    ]


@lru_cache(maxsize=1)
def library_folders() -> tuple[str, ...]:
    """Folders of the standard library."""
    of_base = {"base": sys.base_prefix, "platbase": sys.base_exec_prefix}
    return tuple(sorted({sysconfig.get_path(name, vars=of_base) for name in ("stdlib", "platstdlib")}))


@lru_cache(maxsize=1)
def package_folders() -> tuple[str, ...]:
    """Folders into which packages are installed, of this interpreter and of the system."""
    folders = {*site.getsitepackages(), site.getusersitepackages()}
    for root in (sys.prefix, sys.base_prefix, "/usr", "/usr/local"):
        for kind in ("site-packages", "dist-packages"):
            folders.update(glob.glob(os.path.join(glob.escape(root), "lib*", "python*", kind)))
    return tuple(sorted(folder for folder in folders if os.path.isdir(folder)))
