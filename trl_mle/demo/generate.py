"""Demonstrations: prompts' answers such as a small policy might write, in some of them with mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TypedDict

from trl_mle.demo.improvements import choose_child, choose_parent
from trl_mle.demo.plausible import earlier_outcome
from trl_mle.demo.programs import build_completion, choose
from trl_mle.errors import ConfigError
from trl_mle.types import Outcome, TaskSpec

BUG_SHARE = 0.6
"""Default share of programs with at least one mistake."""


class Demonstration(TypedDict):
    """A completion and what it was made of."""

    task: str
    """`id` of the task."""
    completion: str
    family: str
    """Name of the model family."""
    treatment: str
    """Name of the feature treatment."""
    bugs: list[str]
    """Names of the mistakes."""
    parent: Outcome | None
    """The earlier solution that the prompt shows, with plausible numbers, or `None`."""


def generate_completion(task: TaskSpec, rng: Random, bug_share: float = BUG_SHARE) -> str:
    """A completion for `task`.

    Args:
        task (`TaskSpec`):
            Task to solve. Its public CSV files are read once and cached.
        rng (`random.Random`):
            Source of all choices. The same state gives the same text.
        bug_share (`float`, *optional*, defaults to `0.6`):
            Share of programs with at least one mistake, from 0 to less than 1.

    Raises:
        TaskError: there are no demonstrations for the metric or for the kind of columns.
        ConfigError: `bug_share` is out of range.
    """
    return build_completion(task, choose(task, rng, bug_share))


def generate_demonstrations(
    tasks: Sequence[TaskSpec], n: int, seed: int, bug_share: float = BUG_SHARE, improve_share: float = 0.0
) -> list[Demonstration]:
    """Generate `n` completions, in equal shares per task. The same seed gives the same list.

    Args:
        tasks (sequence of `TaskSpec`):
            Tasks to solve.
        n (`int`):
            Number of demonstrations.
        seed (`int`):
            Seed of all choices.
        bug_share (`float`, *optional*, defaults to `0.6`):
            Share of programs with at least one mistake, from 0 to less than 1.
        improve_share (`float`, *optional*, defaults to `0.0`):
            Share of demonstrations that answer a prompt with an earlier solution, from 0 to 1. Their program differs from the
            earlier one in one or two random decisions, and in its mistakes.

    Returns:
        `list[Demonstration]`: dictionaries.

    Raises:
        TaskError: as in [`generate_completion`].
        ConfigError: a share is out of range, `tasks` is empty, or `n` is less than 1.
    """
    if not tasks:
        raise ConfigError("there is no task to write demonstrations for. Name at least one.")
    if n < 1:
        raise ConfigError(f"{n} demonstrations were asked for; it must be at least 1.")
    if not 0 <= improve_share <= 1:
        raise ConfigError(f"`improve_share` is {improve_share}; it must be from 0 to 1.")
    rng = Random(seed)
    rows: list[Demonstration] = []
    for index in range(n):
        task = tasks[index % len(tasks)]
        parent = None
        if improve_share and rng.random() < improve_share:
            earlier = choose_parent(task, rng)
            parent = earlier_outcome(task, earlier, rng)
            choice = choose_child(task, earlier, rng, bug_share)
        else:
            choice = choose(task, rng, bug_share)
        rows.append(
            {
                "task": task.id,
                "completion": build_completion(task, choice),
                "family": choice.family.name,
                "treatment": choice.treatment.name,
                "bugs": [bug.name for bug in choice.bugs],
                "parent": parent,
            }
        )
    return rows
