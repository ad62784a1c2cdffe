"""What holds for all programs of a task, settled by the worker once: a fork of it has it at no cost."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import lru_cache

from . import grants, imports, packages, view
from .grants import Grant
from .layers import Layers


@dataclass(frozen=True)
class Settled:
    """What the programs of a task may import and open."""

    packages: packages.AllowedPackages
    linked: str = ""
    """Folder of links to packages, as programs find it."""
    steps: tuple[view.Step, ...] = ()
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
            found = tuple(grants.of_packages(allowed, hidden)) if layers.landlock else ()
            return Settled(allowed, linked, grants=(*found, (linked, grants.READ)), key=key)
        steps = view.plan(grants.to_show(allowed), grants.to_hide(allowed, hidden), linked)
        return Settled(allowed, view.PACKAGES, steps, tuple(grants.of_view(steps, layers.private_proc)), key)
    except packages.MissingPackageError as error:
        return Settled(
            packages.NOTHING,
            fault=f"the distribution {str(error)!r} is not installed. Install it there, or change the task's `packages`",
        )
    except view.ViewError as error:
        return Settled(packages.NOTHING, fault=str(error))
