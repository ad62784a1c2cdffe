"""Tasks: the folder format, the built-in tasks, and tasks made from a user's CSV file."""

from trl_mle.tasks.create import create_task
from trl_mle.tasks.load import list_tasks, load_task
from trl_mle.tasks.tabular import TabularTask
from trl_mle.tasks.task import Task

__all__ = ["TabularTask", "Task", "create_task", "list_tasks", "load_task"]
