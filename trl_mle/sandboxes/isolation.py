"""The layers of isolation, described: what each layer does, and what its absence means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trl_mle.sandboxes.local.runner.protocol import Layers


@dataclass(frozen=True)
class Layer:
    """One layer of isolation of programs."""

    name: str
    active: bool
    """Whether the layer is in force on this machine."""
    gives: str
    """What the layer does."""
    without: str
    """What a program can do if the layer is missing."""
    required: bool = False
    """Whether programs could read the answers without the layer."""


def from_worker(layers: Layers) -> tuple[Layer, ...]:
    """The layers that a worker has found, outermost first."""
    version = layers.landlock
    in_namespaces, in_root = layers.namespaces, layers.private_root
    return (
        Layer(
            name="private_root",
            active=in_root,
            gives="of the machine's files only those exist that programs need; own folder in memory, /tmp and /dev/shm",
            without="the machine's files exist, multiprocessing has no semaphores, and modes, times and owners of files cannot "
            "be changed (without `seccomp`: those of your own files can)",
            required=version == 0,
        ),
        Layer(
            name="landlock",
            active=version > 0,
            gives=f"files by allowlist (version {version})" if version else "files by allowlist",
            without="nothing stands behind the private root"
            if in_root
            else "programs can read all files that you can, the answers among them",
            required=not in_root,
        ),
        Layer(
            name="namespaces",
            active=in_namespaces,
            gives="own users, processes, network and IPC; all processes end with the program",
            without="processes are found and killed through /proc",
        ),
        Layer(
            name="private_proc",
            active=layers.private_proc,
            gives="own /proc",
            without="/proc shows a program only itself and a few files about the machine"
            if version
            else "there is no /proc",
        ),
        Layer(
            name="seccomp",
            active=layers.seccomp,
            gives="no system calls for mounts, tracing, kernel keys, io_uring, foreign sockets and the like",
            without="the kernel's whole surface is in reach" + ("" if in_namespaces else ", and UDP is not refused"),
        ),
        Layer(
            name="network",
            active=in_namespaces or layers.seccomp,
            gives="none of any kind",
            without="no TCP, but UDP" if version >= 4 else "programs reach the network",
        ),
        Layer(
            name="signals",
            active=layers.signals,
            gives="none to processes outside",
            without=f"programs can kill your {'younger' if layers.seccomp else 'other'} processes "
            "(needs Linux 6.12, or user namespaces)",
        ),
        Layer(
            name="privileges",
            active=layers.privileges,
            gives="no capabilities, and no way to new ones",
            without="programs have the privileges that you have",
        ),
    )


def describe(layers: Sequence[Layer]) -> str:
    """One line per layer: name, whether it is in force, and what follows from that."""
    if not layers:
        return "The layers of isolation are found when the sandbox starts."
    width = max(len(layer.name) for layer in layers)
    return "\n".join(
        f"{layer.name:<{width}}  {'on     ' if layer.active else 'MISSING'}  "
        f"{layer.gives if layer.active else layer.without}"
        for layer in layers
    )
