"""Both kinds of prompts at test time: solutions from scratch, and improvements of the best one (arXiv 2509.01684).

The choice is by the public score alone. The private score of what was chosen is the result.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from trl_mle.comparison import score_of
from trl_mle.errors import ConfigError, ParentNotShownError
from trl_mle.experience import ExperienceStore
from trl_mle.prompts import PromptBudget, build_prompt
from trl_mle.rewards.scorer import ProgramScorer
from trl_mle.tasks import Task
from trl_mle.types import Outcome

Messages = list[dict[str, str]]
Policy = Callable[[Messages], "str | Awaitable[str]"]
"""Writes one completion for a prompt of chat messages; asked concurrently if it is asynchronous."""


@dataclass(frozen=True)
class BothKinds:
    """What a policy wrote for one task."""

    scratch: tuple[Outcome, ...]
    """Outcomes of the prompts from scratch."""
    improve: tuple[Outcome, ...]
    """Outcomes of the prompts that showed `parent`; empty without one."""
    parent: Outcome | None
    """The earlier solution that was to be improved; `None` if nothing valid was at hand, or it did not fit into a prompt."""

    @property
    def best(self) -> Outcome | None:
        """The best of both kinds by public score; `None` if nothing is valid. The parent has no part in it."""
        return best_of((*self.scratch, *self.improve))

    def private_scores(self) -> dict[str, float | None]:
        """Raw private score of the best from scratch, of the best improvement, and of the better of the two, each chosen by its
        public score; `None` where nothing is valid. `"both"` is of twice as many programs as the other two."""
        chosen = {"scratch": best_of(self.scratch), "improve": best_of(self.improve), "both": self.best}
        return {
            name: None if outcome is None or outcome.private is None else outcome.private.score
            for name, outcome in chosen.items()
        }


def best_of(outcomes: Sequence[Outcome]) -> Outcome | None:
    """The valid outcome with the highest public score on the scale of the reward; of equal ones the first."""
    scored = [(score, outcome) for outcome in outcomes if (score := score_of(outcome)) is not None]
    return max(scored, key=lambda pair: pair[0])[1] if scored else None


async def both_kinds(
    policy: Policy | Any,
    task: Task,
    scorer: ProgramScorer,
    n: int = 16,
    store: ExperienceStore | None = None,
    budget: PromptBudget | None = None,
) -> BothKinds:
    """`n` solutions of `task` from scratch, then `n` that improve the best one known.

    What is improved is the best solution of `store`, or without one the best of those from scratch.

    Args:
        policy (callable or [`Backend`]):
            A function from chat messages to a completion, plain or asynchronous; or a backend of `trl_mle.language_models`. See
            [`local_policy`] for the folder of a model.
        task ([`Task`]):
            The task.
        scorer ([`ProgramScorer`]):
            Runs and grades programs; its context must be open.
        n (`int`, *optional*, defaults to `16`):
            Completions of each kind.
        store ([`ExperienceStore`], *optional*):
            Experience of the policy's training.
        budget ([`PromptBudget`], *optional*):
            Most tokens of a prompt.

    Raises:
        ConfigError: `n` is less than 1.
        InfrastructureError: a backend gave no answer. A fault of the sandbox is an outcome of its own kind.
    """
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ConfigError(f"`n` is {n!r}; it must be 1 or more.")

    async def outcome_of(prompt: Messages) -> Outcome:
        return await scorer.score(await _completion(policy, prompt), task)

    async def outcomes_of(prompt: Messages) -> tuple[Outcome, ...]:
        return tuple(await asyncio.gather(*(outcome_of(prompt) for _ in range(n))))

    scratch = await outcomes_of(build_prompt(task, budget=budget))
    known = [] if store is None else store.best(task, 1)
    parent = known[0].outcome if known else best_of(scratch)
    if parent is None:
        return BothKinds(scratch, (), None)
    try:
        prompt = build_prompt(task, parent, budget=budget)
    except ParentNotShownError:
        return BothKinds(scratch, (), None)
    return BothKinds(scratch, await outcomes_of(prompt), parent)


async def _completion(policy: Any, prompt: Messages) -> str:
    if hasattr(policy, "complete"):
        return str((await policy.complete(prompt)).text)
    text = policy(prompt)
    return await text if inspect.isawaitable(text) else text


def local_policy(folder: str, max_tokens: int, temperature: float = 1.0) -> Any:
    """A policy from the folder of a model, or a hub id, for [`both_kinds`]. It samples in this process.

    Args:
        folder (`str`):
            `output_dir` of a run, a whole model, or a hub id.
        max_tokens (`int`):
            Longest completion, in tokens: `max_completion_length` of the training.
        temperature (`float`, *optional*, defaults to `1.0`):
            Temperature of sampling; 0 writes the same completion each time.

    Raises:
        ConfigError: the model cannot be loaded, or has no chat template.
    """
    from trl_mle.language_models.transformers_backend import TransformersBackend

    return TransformersBackend(folder, max_tokens, temperature=temperature)
