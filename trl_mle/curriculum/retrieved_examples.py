"""`RetrievedExamples`: the best solutions of similar tasks in the prompts of a run."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Literal

from trl_mle.curriculum.guarded_store import GuardedStore
from trl_mle.errors import TaskError
from trl_mle.experience.demonstrations import Messages
from trl_mle.experience.retrieval import add_examples, facts_of, retrieve
from trl_mle.prompts import PromptBudget
from trl_mle.types import Outcome, TaskSpec

logger = logging.getLogger(__name__)


class RetrievedExamples:
    """Adds examples to prompts: what the store holds of other tasks, the most similar task first.

    A task whose table cannot be read has no examples and is no example. That is logged, and costs no run.

    Args:
        tasks (mapping from `str` to [`TaskSpec`]):
            Tasks whose solutions may be shown, and those that are solved.
        count (`int`):
            Most examples in a prompt.
        form (`"plan"` or `"program"`, *optional*, defaults to `"plan"`):
            Whether the words alone are shown, or the code, too.
        budget ([`PromptBudget`], *optional*):
            Most tokens of a prompt. Examples that do not fit are left out.
    """

    def __init__(
        self,
        tasks: Mapping[str, TaskSpec],
        count: int,
        form: Literal["plan", "program"] = "plan",
        budget: PromptBudget | None = None,
    ):
        self._tasks: dict[str, TaskSpec] = {}
        for task in tasks.values():
            try:
                facts_of(task)
            except TaskError as error:
                logger.warning("No examples of similar tasks: %s", error)
            else:
                self._tasks[task.id] = task
        self._titles = {id_: task.title for id_, task in self._tasks.items()}
        self._count, self._form, self._budget = count, form, budget

    def added_to(self, prompt: Messages, task: TaskSpec, store: GuardedStore) -> Messages:
        """`prompt` with examples, or as it is if there are none, or no room for them."""
        if task.id not in self._tasks:
            return prompt
        nothing: list[Outcome] = []
        found = store.try_to(
            "look up similar tasks", lambda opened: retrieve(opened, task, self._tasks, self._count), nothing
        )
        return add_examples(prompt, found, self._titles, self._form, self._budget) if found else prompt
