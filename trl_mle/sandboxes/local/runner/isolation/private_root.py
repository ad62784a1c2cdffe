"""The private root of one program: it holds the files of the machine that a program needs, and nothing else exists.

Its content is the same for all programs of a task, so it is computed once, as a list of steps (`root_steps`), and each
program's first process carries the steps out in a mount namespace of its own (`enter`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

from . import mounts, namespaces

WORK = "/program"
"""The program's folder, as the program sees it."""
PACKAGES = "/packages"
"""The folder of links to packages, as the program sees it."""
WRITABLE_DIRECTORIES = ("/dev/shm", "/tmp")
"""Further folders of the program, in memory. Semaphores of `multiprocessing` live in the first."""
WRITABLE_BYTES = 64 * 1024**2
"""Size of each of `WRITABLE_DIRECTORIES`."""

_DEVICES = ("null", "full", "random", "urandom")
_LINKS = {
    "/dev/fd": "/proc/self/fd",
    "/dev/stdin": "/proc/self/fd/0",
    "/dev/stdout": "/proc/self/fd/1",
    "/dev/stderr": "/proc/self/fd/2",
}


class PrivateRootError(Exception):
    """A file that programs need lies where the private root has its own folder."""


@dataclass(frozen=True)
class Step:
    """One step on the way to a private root."""

    action: str
    """`folder`, `file` (an empty one), `link`, `show` (a file or folder of the machine), `hide` (an empty folder in its
    place) or `writable` (an own folder in memory)."""
    path: str
    """Path inside the root."""
    source: str = ""
    """The path of the machine that is shown, or the target of the link."""


def root_steps(shown: Iterable[str], hidden: Iterable[str], links: str) -> tuple[Step, ...]:
    """Steps that make a root with `shown`, without `hidden`.

    Args:
        shown (iterable of `str`): files and folders of the machine; missing ones are left out.
        hidden (iterable of `str`): folders that stay away although a shown one holds them, except what is `shown` in
            them.
        links (`str`): the folder of links to packages; shown as `PACKAGES`.

    Raises:
        PrivateRootError: something to show lies where the program's folder is.
    """
    steps: dict[str, Step] = {path: Step("link", path, target) for path, target in _LINKS.items()}
    real: set[str] = set()
    for path in shown:
        if os.path.exists(path):
            steps |= {link: Step("link", link, os.readlink(link)) for link in _links_on_the_way(path)}
            real.add(os.path.realpath(path))
    steps |= {path: Step("show", path, path) for path in real}
    steps |= {path: Step("hide", path) for path in map(os.path.realpath, hidden) if os.path.isdir(path)}
    devices = [f"/dev/{name}" for name in _DEVICES if os.path.exists(f"/dev/{name}")]
    steps |= {path: Step("show", path, path) for path in devices}
    steps[PACKAGES] = Step("show", PACKAGES, links)
    steps |= {path: Step("folder", path) for path in ("/proc", WORK)}
    steps |= {path: Step("writable", path) for path in WRITABLE_DIRECTORIES}
    inside = [step.path for step in steps.values() if step.path.startswith(WORK + os.sep)]
    if inside:
        raise PrivateRootError(f"{inside[0]} would be hidden by the program's own folder {WORK}")
    return tuple(_in_order(steps))


def _links_on_the_way(path: str) -> Iterable[str]:
    """Symbolic links among `path` and the folders above it, by their real places."""
    current = ""
    for name in path.strip(os.sep).split(os.sep):
        current = os.path.realpath(current or os.sep) if current else ""
        current = f"{current.rstrip(os.sep)}/{name}"
        if os.path.islink(current):
            yield current
            target = os.path.join(os.path.dirname(current), os.readlink(current))
            yield from _links_on_the_way(os.path.normpath(target))


def _in_order(steps: dict[str, Step]) -> Iterable[Step]:
    """Outer paths first; without those that an outer one shows already, with the folders that they need."""
    nearest: dict[str, str] = {}
    """For each folder of the root: whether its content is the machine's (`show`) or its own."""
    for path in sorted(steps, key=lambda path: path.split(os.sep)):
        step = steps[path]
        above, missing = os.path.dirname(path), []
        while above not in nearest and above != os.sep:
            missing.append(above)
            above = os.path.dirname(above)
        content = nearest.get(above, "folder")
        if content == "show":
            if step.action == "hide":
                nearest[path] = "hide"
                yield step
            continue  # shown already
        if step.action == "hide":
            continue  # nothing is there to hide
        for folder in reversed(missing):
            nearest[folder] = "folder"
            yield Step("folder", folder)
        if step.action == "show":
            yield Step("folder" if os.path.isdir(step.source) else "file", path)
        elif step.action == "writable":
            yield Step("folder", path)
        nearest[path] = step.action
        yield step


def enter(steps: tuple[Step, ...], at: str, work: int, public: str, proc: str) -> None:
    """Make this process and its children live in the private root of `steps`, read-only except their own folders.

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
        _take(step, at + step.path)
    if proc == "own":
        mounts.processes(f"{at}/proc")
        namespaces.bound_processes(f"{at}/proc")
    elif proc == "machine":
        mounts.bind("/proc", f"{at}/proc")
    mounts.attach(work, at + WORK)
    os.mkdir(f"{at}{WORK}/input", 0o755)
    mounts.bind(public, f"{at}{WORK}/input")
    mounts.make_read_only(at)
    for path in (*WRITABLE_DIRECTORIES, WORK):
        mounts.make_writable(at + path)
    mounts.become_root(at)


def _take(step: Step, path: str) -> None:
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
    else:
        mounts.temporary(path, "size=1m,mode=755")
