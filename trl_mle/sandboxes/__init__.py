"""Program -> Execution: where programs of the policy run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trl_mle.sandboxes.backends import BACKENDS
from trl_mle.sandboxes.base import Sandbox
from trl_mle.sandboxes.isolation import Layer
from trl_mle.sandboxes.pool.pool import SandboxPool

if TYPE_CHECKING:
    from trl_mle.sandboxes.e2b_cloud.sandbox import E2BSandbox
    from trl_mle.sandboxes.local.sandbox import LocalSandbox
    from trl_mle.sandboxes.ray_cluster.sandbox import RaySandbox

__all__ = ["E2BSandbox", "Layer", "LocalSandbox", "RaySandbox", "Sandbox", "SandboxPool"]


def __getattr__(name: str) -> Any:
    for backend in BACKENDS.values():  # loaded on first use, because the package of a backend may be an extra
        if backend.class_name == name:
            return backend.load()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
