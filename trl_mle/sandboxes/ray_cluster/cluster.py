"""The connection to a Ray cluster, its nodes and their capacity."""

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
class ClusterNode:
    """A live node as Ray reports it. Memory in bytes."""

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
    """The module `ray` of a process that is connected to a cluster.

    Without a connection Ray's functions silently start a cluster on this machine, which would then run the programs.

    Raises:
        SandboxError: the connection is lost.
    """
    ray = import_ray()
    if not ray.is_initialized():
        raise SandboxError("this process is not connected to the Ray cluster any more", may_have_started=False)
    return ray


def connect(config: RayConfig) -> bool:
    """Connect this process to the cluster unless it is connected. Returns whether the caller has to `disconnect`.

    Raises:
        SandboxUnavailableError: there is no cluster at the address, or the cluster has another version.
    """
    global _users
    ray = import_ray()
    with _lock:
        if ray.is_initialized():
            if _users == 0:  # the user has connected this process and disconnects it too
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
                f"The Ray cluster {_location(address)} cannot be used: {error}. Give the address that `ray start` prints, or "
                "leave it out to use this machine alone. A cluster that asks for a token wants it in `RAY_AUTH_TOKEN` or "
                "`~/.ray/auth_token` here, too."
            ) from error
        _users = 1
        return True


def disconnect() -> None:
    """Disconnect from the cluster unless another sandbox of this process uses it."""
    global _users
    with _lock:
        _users -= 1
        if _users == 0:
            import_ray().shutdown()


def _location(address: str | None) -> str:
    return f"at `address`={address!r}" if address else "of this machine"


def _check_reachable(address: str, timeout_s: float) -> None:
    """Fail early for a dead address: Ray itself takes long to report it, or ends the process."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), min(timeout_s, 10.0)).close()
    except (OSError, ValueError) as error:
        raise SandboxUnavailableError(
            f"The Ray cluster at `address`={address!r} cannot be reached: {error}. Give the address that `ray start` prints "
            f"(port {_RAY_PORT}, or ray://host:10001 from outside), or leave it out to use this machine alone."
        ) from error


def list_nodes(config: RayConfig) -> list[ClusterNode]:
    """The live nodes, those with the most CPUs first.

    Raises:
        SandboxError: the connection is lost. Ray raises errors of its own.
    """
    ray = connected_ray()
    if ray.util.client.ray.is_connected():  # free resources can be read only inside the cluster
        options = {"num_cpus": 0, "runtime_env": config.runtime_env}
        rows = ray.get(ray.remote(_read_nodes).options(**options).remote(), timeout=60)
    else:
        rows = _read_nodes()
    return sorted((ClusterNode(*fields) for fields in rows), key=lambda node: (-node.cpus, node.node_id))


def _read_nodes() -> list[tuple[Any, ...]]:
    import ray
    from ray._private.state import available_resources_per_node

    free = available_resources_per_node()
    rows = []
    for node in ray.nodes():
        if node["Alive"]:
            total, unused = node["Resources"], free.get(node["NodeID"], {})
            numbers = (
                total.get("CPU", 0.0), total.get("memory", 0.0), unused.get("CPU", 0.0), unused.get("memory", 0.0),
            )  # fmt: skip
            rows.append((node["NodeID"], node["NodeManagerAddress"], *numbers))
    return rows


def capacity(node: ClusterNode, config: RayConfig) -> tuple[int, int]:
    """Programs that fit on a node at the same time: if the node were empty, and now."""

    def fit(cpus: float, memory: float) -> int:
        counts = [int(cpus / config.cpus_per_worker + 1e-9)]  # 0.3 / 0.1 is a little less than 3
        if config.memory_per_worker:
            counts.append(int(memory / config.memory_per_worker))
        if config.workers_per_node is not None:
            counts.append(config.workers_per_node)
        return max(0, min(counts))

    whole = fit(node.cpus * config.share, node.memory * config.share)
    return whole, min(whole, fit(node.free_cpus, node.free_memory))


def assign_workers(capacities: dict[str, int], limit: int | None) -> dict[str, int]:
    """Node -> number of its workers: as many as fit, or `limit` in all, spread evenly."""
    if limit is None or sum(capacities.values()) <= limit:
        return dict(capacities)
    workers = dict.fromkeys(capacities, 0)
    while limit > 0:
        for node, fits in capacities.items():
            if workers[node] < fits and limit > 0:
                workers[node] += 1
                limit -= 1
    return workers
