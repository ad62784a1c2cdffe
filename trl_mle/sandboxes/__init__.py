"""Program -> Execution: where programs of the policy run."""

from trl_mle.sandboxes.base import Sandbox
from trl_mle.sandboxes.layers import Layer
from trl_mle.sandboxes.local import LocalSandbox

__all__ = ["Layer", "LocalSandbox", "Sandbox"]
