"""Per-task sandbox policy: which packages a program may import and which paths it may open.

The worker computes it once per task. Its forks inherit it.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import lru_cache

from .interpreter.imports import link_packages
from .interpreter.packages import NOTHING, AllowedPackages, MissingPackageError, resolve
from .isolation.allowlist import (
    READ,
    Rule,
    hidden_paths,
    rules_for_packages,
    rules_for_private_root,
    shown_paths,
)
from .isolation.root_steps import PACKAGES, PrivateRootError, Step, root_steps
from .protocol import Layers


@dataclass(frozen=True)
class TaskPolicy:
    """What the programs of a task may import and open."""

    packages: AllowedPackages
    links: str = ""
    """Folder of links to the allowed packages, as programs find it."""
    root_steps: tuple[Step, ...] = ()
    """Steps that make the private root; empty if there is none."""
    allowlist: tuple[Rule, ...] = ()
    """Rules of Landlock, except those for the program's own files."""
    key: str = ""
    """Identifies the policy without the names of what is hidden."""
    fault: str | None = None
    """Why programs of this task cannot run here, if they cannot."""


@lru_cache(maxsize=1024)
def task_policy(names: tuple[str, ...], hidden: tuple[str, ...], folder: str, layers: Layers) -> TaskPolicy:
    """Find the distributions `names` and decide what programs may import and open.

    Args:
        names (`tuple[str, ...]`): distributions that the task allows.
        hidden (`tuple[str, ...]`): paths that must stay unreadable even if a system folder holds them.
        folder (`str`): the worker's own folder.
        layers (`Layers`): the layers of isolation of this machine.
    """
    key = hashlib.sha256(repr((names, hidden)).encode()).hexdigest()
    try:
        allowed = resolve(names)
        links = os.path.join(
            folder, f"packages-{hashlib.sha256(repr(allowed.distributions).encode()).hexdigest()[:12]}"
        )
        # Tasks that differ in what is hidden share the links.
        if not os.path.isdir(links):
            link_packages(allowed, links)
        if not layers.private_root:
            rules = rules_for_packages(allowed, hidden) if layers.landlock else []
            return TaskPolicy(allowed, links, allowlist=(*rules, (links, READ)), key=key)
        steps = root_steps(shown_paths(allowed), hidden_paths(allowed, hidden), links)
        rules = rules_for_private_root(steps, layers.private_proc)
        return TaskPolicy(allowed, PACKAGES, steps, tuple(rules), key)
    except MissingPackageError as error:
        return TaskPolicy(
            NOTHING,
            fault=f"the distribution {str(error)!r} is not installed. Install it there, or change the task's `packages`",
        )
    except PrivateRootError as error:
        return TaskPolicy(NOTHING, fault=str(error))
