"""The allowlist of a program: interpreter, system libraries, allowed packages, public files, its own folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator

from ..interpreter.packages import AllowedPackages, library_folders, package_folders
from .landlock import ALL, DEVICE, READ, READ_DIR, READ_FILE, RUN
from .libraries import libraries
from .root_steps import WRITABLE_DIRECTORIES, Step

Rule = tuple[str, int]
"""A path and the Landlock rights beneath it."""

_SYSTEM = (
    "/bin",
    "/usr/bin",
    # Of shared data only what libraries read: /usr/share also has word lists, translations and documents of many languages.
    *("/usr/share/zoneinfo", "/usr/share/fonts", "/usr/share/fontconfig", "/usr/share/terminfo"),
    # Other locales name days and months in other languages, and differ between machines.
    *("/usr/lib/locale/C.utf8", "/usr/lib/locale/C.UTF-8"),
)
_SYSTEM_FILES = (
    *("/etc/ld.so.cache", "/etc/nsswitch.conf"),
    # The number of cores, which joblib, OpenMP and `os.cpu_count` read.
    *("/sys/devices/system/cpu", "/sys/fs/cgroup/cpu.max"),
    *("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu/cpu.cfs_period_us"),
)
_DEVICES = ("/dev/null", "/dev/full")
_RANDOM = ("/dev/urandom", "/dev/random")
_HARMLESS_PROC = ("/proc/cpuinfo", "/proc/meminfo", "/proc/stat")
_OF_THE_MACHINE = frozenset({"net", "mounts", "mountinfo", "mountstats"})
"""Entries of `/proc/self` that describe the machine if its namespaces are shared."""


def rules_for_packages(packages: AllowedPackages, hidden: tuple[str, ...]) -> list[Rule]:
    """Rules that are the same for every program of a task, without a private root.

    Args:
        packages (`AllowedPackages`): what may be imported.
        hidden (`tuple[str, ...]`): further paths that must stay unreadable even if a system folder holds them.
    """
    out_of_reach = {os.path.realpath(path) for path in hidden_paths(packages, hidden)}
    rules = [
        (path, RUN)
        for root in (*_SYSTEM, *libraries().shown, *_interpreter())
        for path in paths_without(root, out_of_reach)
    ]
    rules += [(path, READ_DIR) for path in library_folders()]
    data = {os.path.realpath(path) for path in packages.hidden}
    for root, _ in packages.entries:
        rules += [(path, RUN) for path in paths_without(root, data)]
        if os.path.isdir(root):
            rules.append((root, READ_DIR))
    rules += [(path, READ) for path in _SYSTEM_FILES]
    rules += [(path, DEVICE) for path in _DEVICES] + [(path, READ_FILE) for path in _RANDOM]
    merged: dict[str, int] = {}
    for path, rights in rules:
        merged[path] = merged.get(path, 0) | rights
    return list(merged.items())


def shown_paths(packages: AllowedPackages) -> tuple[str, ...]:
    """Paths of the machine that a private root shows to programs that may import `packages`."""
    return (*_SYSTEM, *libraries().shown, *_interpreter(), *(path for path, _ in packages.entries), *_SYSTEM_FILES)


def hidden_paths(packages: AllowedPackages, hidden: tuple[str, ...]) -> tuple[str, ...]:
    """Paths of the machine that no program may see: all other packages, data inside of packages, and `hidden`."""
    return (*package_folders(), *libraries().hidden, *hidden, *packages.hidden)


def rules_for_private_root(steps: Iterable[Step], own_proc: bool) -> list[Rule]:
    """Rules that are the same for every program of a task, in the private root of `steps`, outside of which nothing exists."""
    rules = [(path, DEVICE) for path in _DEVICES] + [(path, READ_FILE) for path in _RANDOM]
    if own_proc:
        return [("/", RUN), *rules]
    return [(step.path, RUN) for step in steps if step.action == "show"] + rules


def rules_for_program(work: str, public: str, own_root: bool, own_proc: bool) -> list[Rule]:
    """Rules of one program: `work` to write, `public` to read.

    `/dev/shm` (semaphores of `multiprocessing`) and the whole `/proc` are allowed only if they are the program's own. The
    host's would show other processes and their shared memory.
    """
    rules = [(work, ALL), (os.path.join(work, "input") if own_root else public, READ)]
    if own_root:
        rules += [(path, ALL) for path in WRITABLE_DIRECTORIES]
    if own_proc:
        return [*rules, ("/proc", READ)]
    # Not the links to its root and folder: a rule would hold for what they name.
    entries = (entry for entry in os.scandir("/proc/self") if not entry.is_symlink())
    own = [entry.path for entry in entries if entry.name not in _OF_THE_MACHINE]
    return [*rules, ("/proc/self", READ_DIR), *((path, READ) for path in (*_HARMLESS_PROC, *own))]


def paths_without(path: str, hidden: Iterable[str]) -> Iterator[str]:
    """`path`, or if it holds one of `hidden` (real paths), all entries beneath it that hold none.

    Landlock has no exceptions below an allowed folder, so its other entries are allowed one by one.
    """
    path = os.path.realpath(path)
    if path in hidden or not os.path.exists(path):
        return
    if any(secret.startswith(path + os.sep) for secret in hidden):
        for entry in os.scandir(path):
            if not entry.is_symlink():  # what a link names is allowed where it lies, if at all
                yield from paths_without(entry.path, hidden)
    else:
        yield path


def _interpreter() -> list[str]:
    return [
        sys.executable,
        os.path.realpath(sys.executable),
        os.path.join(sys.prefix, "bin"),
        os.path.join(sys.prefix, "pyvenv.cfg"),
        os.path.join(sys.base_prefix, "bin"),
        *library_folders(),
    ]
