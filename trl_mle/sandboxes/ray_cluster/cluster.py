"""The cluster: how to get into it, and what its nodes have."""

from __future__ import annotations

import logging
import os
import socket
import threading
from dataclasses import dataclass
from typing import Any

from trl_mle.config import RayConfig
from trl_mle.errors import SandboxError, SandboxUnavailableError, missing_extra

_users = 0
_lock = threading.Lock()
_RAY_PORT = 6379


@dataclass(frozen=True)
class Machine:
    """One node that is alive. Memory in bytes."""

    node_id: str
    address: str
    cpus: float
    memory: float
    free_cpus: float
    free_memory: float


def import_ray() -> Any:
    """The module `ray`.

    Raises:
        UserError: it is not installed.
    """
    try:
        import ray
    except ImportError:
        raise missing_extra("ray", "ray") from None
    return ray


def connected_ray() -> Any:
    """The module `ray` while this process is in a cluster. Where it is in none, Ray's functions silently start one of this
    machine, which would then run the programs.

    Raises:
        SandboxError: the connection is lost.
    """
    ray = import_ray()
    if not ray.is_initialized():
        raise SandboxError("this process is not connected to the Ray cluster any more", may_have_started=False)
    return ray


def connect(config: RayConfig) -> bool:
    """Get into the cluster, where this process is in none. Returns whether to `disconnect` again.

    Raises:
        SandboxUnavailableError: there is no cluster at the address, or it is one of another version.
    """
    global _users
    ray = import_ray()
    with _lock:
        if ray.is_initialized():
            if _users == 0:  # by the user, who will leave it too
                return False
            _users += 1
            return True
        address = config.address or os.environ.get("RAY_ADDRESS")
        if address and address not in ("auto", "local"):
            _check_reachable(address, config.connect_s)
        settings: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if not address or address == "local":
            settings["include_dashboard"] = False
        try:
            ray.init(address=address, **settings)
        except (ray.exceptions.RayError, ConnectionError, RuntimeError, ValueError, OSError) as error:
            raise SandboxUnavailableError(
                f"The Ray cluster {_words(address)} cannot be used: {error}. Give the address that `ray start` prints, or "
                "leave it out to use this machine alone. A cluster that asks for a token wants it in `RAY_AUTH_TOKEN` or "
                "`~/.ray/auth_token` here, too."
            ) from error
        _users = 1
        return True


def disconnect() -> None:
    """Leave the cluster, unless another sandbox of this process needs it."""
    global _users
    with _lock:
        _users -= 1
        if _users == 0:
            import_ray().shutdown()


def _words(address: str | None) -> str:
    return f"at `address`={address!r}" if address else "of this machine"


def _check_reachable(address: str, timeout_s: float) -> None:
    """Ray itself takes long to say that nobody is there, or ends the process."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), min(timeout_s, 10.0)).close()
    except (OSError, ValueError) as error:
        raise SandboxUnavailableError(
            f"The Ray cluster at `address`={address!r} cannot be reached: {error}. Give the address that `ray start` prints "
            f"(port {_RAY_PORT}, or ray://host:10001 from outside), or leave it out to use this machine alone."
        ) from error


def look(config: RayConfig) -> list[Machine]:
    """The nodes that are alive, those with the most CPUs first.

    Raises:
        SandboxError: the connection is lost. Ray raises others.
    """
    ray = connected_ray()
    if ray.util.client.ray.is_connected():  # what is free can only be asked from inside
        options = {"num_cpus": 0, "runtime_env": config.runtime_env}
        found = ray.get(ray.remote(_look).options(**options).remote(), timeout=60)
    else:
        found = _look()
    return sorted((Machine(*fields) for fields in found), key=lambda machine: (-machine.cpus, machine.node_id))


def _look() -> list[tuple[Any, ...]]:
    import ray
    from ray._private.state import available_resources_per_node

    free = available_resources_per_node()
    found = []
    for node in ray.nodes():
        if node["Alive"]:
            has, left = node["Resources"], free.get(node["NodeID"], {})
            numbers = (has.get("CPU", 0.0), has.get("memory", 0.0), left.get("CPU", 0.0), left.get("memory", 0.0))
            found.append((node["NodeID"], node["NodeManagerAddress"], *numbers))
    return found


def room(machine: Machine, config: RayConfig) -> tuple[int, int]:
    """Programs that fit on a node at the same time: when it is empty, and now."""

    def fit(cpus: float, memory: float) -> int:
        counts = [int(cpus / config.cpus_per_worker + 1e-9)]
        if config.memory_per_worker:
            counts.append(int(memory / config.memory_per_worker))
        if config.workers_per_node is not None:
            counts.append(config.workers_per_node)
        return max(0, min(counts))

    whole = fit(machine.cpus * config.share, machine.memory * config.share)
    return whole, min(whole, fit(machine.free_cpus, machine.free_memory))


def shares(rooms: dict[str, int], most: int | None) -> dict[str, int]:
    """Node -> its workers: all that fit, or `most` in all, spread evenly."""
    if most is None or sum(rooms.values()) <= most:
        return dict(rooms)
    given = dict.fromkeys(rooms, 0)
    while most > 0:
        for node, fits in rooms.items():
            if given[node] < fits and most > 0:
                given[node] += 1
                most -= 1
    return given
