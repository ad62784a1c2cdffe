"""The registry of sandbox backends. A new backend is a folder with its sandbox, a config class and one line here."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from trl_mle.config import BackendConfig, E2BConfig, PoolConfig, RayConfig, SandboxConfig
from trl_mle.errors import ConfigError
from trl_mle.sandboxes.base import Sandbox
from trl_mle.sandboxes.pool.pool import SandboxPool


@dataclass(frozen=True)
class Backend:
    """One place where programs can run."""

    name: str
    """The value of `sandbox_backend`."""
    config: type[BackendConfig]
    """The dataclass of its settings; the first argument of the sandbox class."""
    module: str
    """The module of the sandbox class. It is imported on first use, because its package may be an extra."""
    class_name: str

    def load(self) -> type[Any]:
        """The sandbox class. It is made from an instance of `config` and implements [`Sandbox`]."""
        return getattr(import_module(self.module), self.class_name)  # type: ignore[no-any-return]


BACKENDS: dict[str, Backend] = {
    backend.name: backend
    for backend in (
        Backend("local", SandboxConfig, "trl_mle.sandboxes.local.sandbox", "LocalSandbox"),
        Backend("ray", RayConfig, "trl_mle.sandboxes.ray_cluster.sandbox", "RaySandbox"),
        Backend("e2b", E2BConfig, "trl_mle.sandboxes.e2b_cloud.sandbox", "E2BSandbox"),
    )
}
"""Name -> backend, the default first."""


def check_backend(name: str) -> None:
    """Raise `ConfigError` for a backend that does not exist."""
    if name not in BACKENDS:
        *others, last = map(repr, BACKENDS)
        raise ConfigError(f"`sandbox_backend` is {name!r}; choose {', '.join(others)} or {last}.")


def make_sandbox(name: str, settings: Any, pool: PoolConfig | None = None) -> SandboxPool:
    """The sandbox of a backend behind a pool. It is not started yet.

    Args:
        name (`str`):
            A key of `BACKENDS`.
        settings (`SandboxConfig`, `RayConfig` or `E2BConfig`):
            The settings of the backend, an instance of its `Backend.config`. `None`: the defaults.
        pool (`PoolConfig`, *optional*):
            The settings of the pool.

    Raises:
        UserError: there is no such backend, the settings belong to another one, or its package is not installed.
    """
    check_backend(name)
    backend = BACKENDS[name]
    if settings is not None and not isinstance(settings, backend.config):
        raise ConfigError(
            f"`settings` of the backend {name!r} is a `{type(settings).__name__}`; give a `{backend.config.__name__}`."
        )
    sandbox: Sandbox = backend.load()(settings)
    return SandboxPool(sandbox, pool)
