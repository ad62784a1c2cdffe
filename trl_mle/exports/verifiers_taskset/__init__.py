"""Tasks as a taskset of verifiers, with the tools of [`MLEEnvironment`]. Needs the extra `verifiers`.

verifiers finds it as `trl-mle-verifiers`, the top-level module that exports these names.
"""

from trl_mle.exports.verifiers_taskset.taskset import MLEHarness, MLETask, MLETaskset, MLETasksetConfig

__all__ = ["MLEHarness", "MLETask", "MLETaskset", "MLETasksetConfig"]
