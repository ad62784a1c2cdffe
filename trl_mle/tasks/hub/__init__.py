"""Task folders as a data set of the Hugging Face Hub: `push_tasks` and `pull_tasks`."""

from trl_mle.tasks.hub.pull import PulledTask, pull_tasks
from trl_mle.tasks.hub.push import push_tasks

__all__ = ["PulledTask", "pull_tasks", "push_tasks"]
