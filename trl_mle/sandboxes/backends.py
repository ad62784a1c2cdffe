"""The registry of backends, and the sandbox that settings ask for: the backend's own behind a pool."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from trl_mle.config import BackendConfig, E2BConfig, PoolConfig, RayConfig, SandboxConfig
from trl_mle.errors import ConfigError
from trl_mle.sandboxes.pool.pool import SandboxPool


@dataclass(frozen=True)
class Backend:
    """Where programs can run. A new backend needs a file with its `Sandbox`, a configuration and a line in `BACKENDS`."""

    name: str
    """Value of `sandbox_backend`."""
    config: type[BackendConfig]
    """Class of its settings."""
    module: str
    """Module of its sandbox, imported on use: it may need an optional package."""
    class_name: str
    """Class of its sandbox in that module."""


BACKENDS: dict[str, Backend] = {
    "local": Backend("local", SandboxConfig, "trl_mle.sandboxes.local.sandbox", "LocalSandbox"),
    "ray": Backend("ray", RayConfig, "trl_mle.sandboxes.ray_cluster.sandbox", "RaySandbox"),
    "e2b": Backend("e2b", E2BConfig, "trl_mle.sandboxes.e2b_cloud.sandbox", "E2BSandbox"),
}


def check_backend(backend: str) -> None:
    """Raise `ConfigError` for a backend that does not exist."""
    if backend not in BACKENDS:
        *others, last = map(repr, BACKENDS)
        raise ConfigError(f"`sandbox_backend` is {backend!r}; choose {', '.join(others)} or {last}.")


def make_sandbox(backend: str, settings: Any, pool: PoolConfig | None = None) -> SandboxPool:
    """The sandbox that a recipe asks for, not started yet.

    Args:
        backend (`str`):
            One of `BACKENDS`.
        settings (`SandboxConfig`, `RayConfig` or `E2BConfig`):
            Those of the backend.
        pool (`PoolConfig`, *optional*):
            Those of the pool.

    Raises:
        UserError: there is no such backend, or its package is not installed.
    """
    check_backend(backend)
    entry = BACKENDS[backend]
    sandbox_class = getattr(import_module(entry.module), entry.class_name)
    return SandboxPool(sandbox_class(settings), pool)
