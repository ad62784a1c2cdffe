"""Tasks from what a user has: a table, a Kaggle folder, or a folder of images."""

from trl_mle.tasks.create.create import create_task
from trl_mle.tasks.create.proposal import Proposal, propose
from trl_mle.tasks.create.questions import Choice, Question, raise_open
from trl_mle.tasks.create.request import Request

__all__ = ["Choice", "Proposal", "Question", "Request", "create_task", "propose", "raise_open"]
