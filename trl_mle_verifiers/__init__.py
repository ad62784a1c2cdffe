"""The taskset under the name by which verifiers finds it: `--env.taskset.id trl-mle-verifiers`.

verifiers looks tasksets up as top-level modules. Everything is in `trl_mle.exports.verifiers_taskset`.
"""

from trl_mle.exports.verifiers_taskset import MLEHarness, MLETaskset

__all__ = ["MLEHarness", "MLETaskset"]
