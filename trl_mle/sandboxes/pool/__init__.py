"""`SandboxPool`, the queue in front of every sandbox.

- `pool`: the sandbox that callers see: retries, deadlines, cancellation
- `dispatcher`: which program gets the next lease
- `fair_queue`: round-robin over groups
- `health`: whether the sandbox works; probes while it is down
- `retries`: which faults are retried, and after which pause
- `counts`, `progress_line`: metrics and the live line
- `timing`: durations that tests shorten
"""

from trl_mle.sandboxes.pool.pool import SandboxPool

__all__ = ["SandboxPool"]
