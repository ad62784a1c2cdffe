"""The steps that make a private root: the files of the machine that the programs of a task need, and nothing else.

The steps are the same for all programs of a task, so they are computed once. `private_root` carries them out.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

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
    """The steps that make a root with `shown` and without `hidden`.

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
    # Later entries win: what is hidden is hidden even if it is also to be shown.
    steps |= {path: Step("show", path, path) for path in real}
    steps |= {path: Step("hide", path) for path in map(os.path.realpath, hidden) if os.path.isdir(path)}
    devices = [f"/dev/{name}" for name in _DEVICES if os.path.exists(f"/dev/{name}")]
    steps |= {path: Step("show", path, path) for path in devices}
    steps[PACKAGES] = Step("show", PACKAGES, links)
    steps |= {path: Step("folder", path) for path in ("/proc", WORK)}
    steps |= {path: Step("writable", path) for path in WRITABLE_DIRECTORIES}
    # The program's folder is mounted over such a path, for example an interpreter installed in `/program`.
    inside = [step.path for step in steps.values() if step.path.startswith(WORK + os.sep)]
    if inside:
        raise PrivateRootError(f"{inside[0]} would be hidden by the program's own folder {WORK}")
    return tuple(_in_order(steps))


def _links_on_the_way(path: str) -> Iterable[str]:
    """Symbolic links among `path` and the folders above it, by their real paths."""
    current = ""
    for name in path.strip(os.sep).split(os.sep):
        current = os.path.realpath(current or os.sep) if current else ""
        current = f"{current.rstrip(os.sep)}/{name}"
        if os.path.islink(current):
            yield current
            # The target may lead over further links, which must exist too.
            target = os.path.join(os.path.dirname(current), os.readlink(current))
            yield from _links_on_the_way(os.path.normpath(target))


def _in_order(steps: dict[str, Step]) -> Iterable[Step]:
    """`steps` with outer paths first, without those that an outer one already shows, and with the folders that they need."""
    nearest: dict[str, str] = {}
    """Per folder of the root: the action that gives its content, `show` for the machine's."""
    for path in sorted(steps, key=lambda path: path.split(os.sep)):
        step = steps[path]
        above, missing = os.path.dirname(path), []
        while above not in nearest and above != os.sep:
            missing.append(above)
            above = os.path.dirname(above)
        content = nearest.get(above, "folder")
        # Inside of a folder of the machine only `hide` changes anything.
        if content == "show":
            if step.action == "hide":
                nearest[path] = "hide"
                yield step
            continue  # the outer path shows it
        if step.action == "hide":
            continue  # nothing is there to hide
        for folder in reversed(missing):
            nearest[folder] = "folder"
            yield Step("folder", folder)
        # A mount needs a mount point of its kind.
        if step.action == "show":
            yield Step("folder" if os.path.isdir(step.source) else "file", path)
        elif step.action == "writable":
            yield Step("folder", path)
        nearest[path] = step.action
        yield step
