"""What holds for all programs of a task, settled by the worker once: a fork of it has it at no cost."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import lru_cache

from .interpreter import imports, packages
from .isolation import allowlist, private_root
from .isolation.allowlist import Grant
from .isolation.probe import Layers


@dataclass(frozen=True)
class Settled:
    """What the programs of a task may import and open."""

    packages: packages.AllowedPackages
    linked: str = ""
    """Folder of links to packages, as programs find it."""
    steps: tuple[private_root.Step, ...] = ()
    """Of the private root; empty where there is none."""
    grants: tuple[Grant, ...] = ()
    """Of Landlock, those of the program's own files left out."""
    key: str = ""
    """Tells it from others, without the names of what is hidden."""
    fault: str | None = None
    """Why programs of this task cannot run here, if they cannot."""


@lru_cache(maxsize=1024)
def settle(names: tuple[str, ...], hidden: tuple[str, ...], folder: str, layers: Layers) -> Settled:
    """Find the distributions `names` and decide what programs see.

    Args:
        names (`tuple[str, ...]`): distributions that the task allows.
        hidden (`tuple[str, ...]`): paths that must stay unreadable even if a system folder holds them.
        folder (`str`): the worker's own.
        layers (`Layers`): those of this machine.
    """
    key = hashlib.sha256(repr((names, hidden)).encode()).hexdigest()
    try:
        allowed = packages.resolve(names)
        linked = os.path.join(
            folder, f"packages-{hashlib.sha256(repr(allowed.distributions).encode()).hexdigest()[:12]}"
        )
        if not os.path.isdir(linked):
            imports.link_packages(allowed, linked)
        if not layers.private_root:
            found = tuple(allowlist.of_packages(allowed, hidden)) if layers.landlock else ()
            return Settled(allowed, linked, grants=(*found, (linked, allowlist.READ)), key=key)
        steps = private_root.plan(allowlist.to_show(allowed), allowlist.to_hide(allowed, hidden), linked)
        return Settled(
            allowed, private_root.PACKAGES, steps, tuple(allowlist.of_view(steps, layers.private_proc)), key
        )
    except packages.MissingPackageError as error:
        return Settled(
            packages.NOTHING,
            fault=f"the distribution {str(error)!r} is not installed. Install it there, or change the task's `packages`",
        )
    except private_root.ViewError as error:
        return Settled(packages.NOTHING, fault=str(error))
