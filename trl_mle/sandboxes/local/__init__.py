"""`LocalSandbox`: programs on this machine.

- `sandbox`: the sandbox that callers see: slots, each with one worker
- `slot`: a place for one worker
- `worker_process`: a worker on the host's side
- `timing`: durations that tests shorten
- `runner/`: what runs in the workers; standard library only
"""

from __future__ import annotations

from typing import Any

__all__ = ["LocalSandbox"]


def __getattr__(name: str) -> Any:
    if name == "LocalSandbox":
        # On first use: the sandbox imports modules that import the runner, and so this package.
        from trl_mle.sandboxes.local.sandbox import LocalSandbox

        return LocalSandbox
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
