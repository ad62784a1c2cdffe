"""Which prompt comes next: from scratch, to improve an earlier program, or to repair one that failed."""

from __future__ import annotations

import random
from dataclasses import dataclass

from trl_mle.errors import ConfigError, ParentNotShownError
from trl_mle.experience import Experience, ExperienceStore
from trl_mle.prompts import PromptBudget, build_prompt
from trl_mle.tasks import Task
from trl_mle.types import PromptKind

Messages = list[dict[str, str]]


@dataclass(frozen=True)
class Prompt:
    """Chat messages, and what they show."""

    messages: Messages
    kind: PromptKind
    parent: int | None = None
    """Id of the outcome that they show."""


class Prompting:
    """Chooses prompts by chance: shares of improvements and repairs, the rest from scratch.

    Without a valid program, the share of the improvements goes to the repairs.

    Args:
        task ([`Task`]):
            The task.
        store ([`ExperienceStore`]):
            Earlier outcomes.
        budget ([`PromptBudget`], *optional*):
            Most tokens of a prompt. A parent that does not fit is not shown.
        improve_share (`float`, *optional*, defaults to `0.6`):
            Share of prompts that show a valid program.
        debug_share (`float`, *optional*, defaults to `0.1`):
            Share of prompts that show a program that failed.
        strategy (`str`, *optional*, defaults to `"score_weighted"`):
            Which valid program is shown: a name of `trl_mle.experience.STRATEGIES`.
        seed (`int`, *optional*, defaults to `0`):
            Seed of the choices.

    Raises:
        ConfigError: a share is not in [0, 1], or the task alone does not fit into `budget`.
    """

    def __init__(
        self,
        task: Task,
        store: ExperienceStore,
        budget: PromptBudget | None = None,
        *,
        improve_share: float = 0.6,
        debug_share: float = 0.1,
        strategy: str = "score_weighted",
        seed: int = 0,
    ):
        if not (improve_share >= 0 and debug_share >= 0 and improve_share + debug_share <= 1):
            raise ConfigError(
                f"The shares of prompts to improve ({improve_share}) and to repair ({debug_share}) must be 0 or more, and at most "
                "1 together."
            )
        self.task = task
        self.store = store
        self.budget = budget
        self.improve_share = improve_share
        self.debug_share = debug_share
        self.strategy = strategy
        self._rng = random.Random(seed)
        self._scratch = Prompt(build_prompt(task, budget=budget), "scratch")

    def next(self) -> Prompt:
        """The next prompt."""
        number = self._rng.random()
        if number >= self.improve_share + self.debug_share:
            return self._scratch
        wants_valid = number < self.improve_share
        parent = self.store.choose_parent(self.task, self.strategy, self._rng) if wants_valid else None
        if parent is None:
            parent = self.store.choose_failed(self.task, self._rng)
        return self._scratch if parent is None else self._with(parent)

    def _with(self, parent: Experience) -> Prompt:
        try:
            messages = build_prompt(self.task, parent.outcome, budget=self.budget)
        except ParentNotShownError:
            return self._scratch
        return Prompt(messages, "improve" if parent.outcome.kind == "valid" else "debug", parent.id)
