"""From the name of a backend to a sandbox, with the pool that stands in front of each of them."""

from __future__ import annotations

from typing import Any

from trl_mle.config import PoolConfig
from trl_mle.errors import ConfigError
from trl_mle.sandboxes.base import Sandbox
from trl_mle.sandboxes.e2b_cloud.sandbox import E2BSandbox
from trl_mle.sandboxes.local.sandbox import LocalSandbox
from trl_mle.sandboxes.pool.pool import SandboxPool

BACKENDS = ("local", "ray", "e2b")


def check_backend(backend: str) -> None:
    """Raise `ConfigError` for a backend that does not exist."""
    if backend not in BACKENDS:
        raise ConfigError(f"`sandbox_backend` is {backend!r}; choose 'local', 'ray' or 'e2b'.")


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
    sandbox: Sandbox
    if backend == "ray":
        from trl_mle.sandboxes.ray_cluster.sandbox import RaySandbox

        sandbox = RaySandbox(settings)
    elif backend == "e2b":
        sandbox = E2BSandbox(settings)
    else:
        sandbox = LocalSandbox(settings)
    return SandboxPool(sandbox, pool)
