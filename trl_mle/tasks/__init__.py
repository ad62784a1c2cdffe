"""What the policy is asked: folder format, built-in tasks, and tasks made from one's own CSV."""

from trl_mle.tasks.create import create_task
from trl_mle.tasks.load import list_tasks, load_task
from trl_mle.tasks.task import Task

__all__ = ["Task", "create_task", "list_tasks", "load_task"]
