"""Demonstrations of several turns: what a small agent might try next, given what its last program came to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

from trl_mle.demo.bugs import Context, choose_bugs
from trl_mle.demo.draft import Draft
from trl_mle.demo.families import Family
from trl_mle.demo.improvements import choose_child
from trl_mle.demo.plausible import QUALITY
from trl_mle.demo.programs import Choice, choose, combinations, draft_with_bugs
from trl_mle.demo.table import read_facts
from trl_mle.errors import ConfigError
from trl_mle.types import OutcomeKind, TaskSpec

STOP_SHARE = 0.3
"""Share of valid programs after which the agent submits although it may run another one."""
REPAIR_BUG_SHARE = 0.25
"""Share of repairs that have a mistake again, one of another kind or the same."""
BETTER_SHARE = 0.5
"""Share of improvements that take a model family which is better on most tasks. The others change decisions at random: which
changes help is left to reinforcement learning."""


def _better(family: Family, present: Family) -> bool:
    """Whether a family is usually better."""
    return QUALITY[family.name][0] > QUALITY[present.name][0]


def _faster(family: Family, present: Family) -> bool:
    """Whether a family usually runs for less time."""
    return QUALITY[family.name][1] < QUALITY[present.name][1]


class DemoAgent:
    """Chooses the programs of one episode.

    The first program is drawn as in demonstrations of one turn. A failed program is repaired: the same decisions, mostly without
    mistakes, or a faster model if it was too slow. After a valid one the agent submits, or changes some of its decisions.

    Args:
        task ([`TaskSpec`]):
            Task to solve.
        first ([`Choice`]):
            Decisions of the first program.
        rng (`random.Random`):
            Source of all choices.
        bug_share (`float`):
            Share of first programs with at least one mistake. A quarter of it holds for programs that follow a valid one.
    """

    def __init__(self, task: TaskSpec, first: Choice, rng: Random, bug_share: float):
        self.task = task
        self.choice = first
        self._rng = rng
        self._bug_share = bug_share

    def draft(self) -> Draft:
        """Plan and program of the present decisions."""
        return draft_with_bugs(self.task, self.choice)

    def proceed(self, kind: OutcomeKind) -> bool:
        """Choose the next program, given what the last one came to; `False` if the agent submits instead."""
        if kind == "valid":
            if self._rng.random() < STOP_SHARE:
                return False
            better = self._of_family(_better) if self._rng.random() < BETTER_SHARE else None
            self.choice = better or choose_child(self.task, self.choice, self._rng, self._bug_share / 4)
        elif kind == "timeout" and not self.choice.bugs:
            self.choice = self._of_family(_faster) or self._repaired()
        else:
            self.choice = self._repaired()
        return True

    def _repaired(self) -> Choice:
        context = Context(self.task, read_facts(self.task), self.choice.family)
        return replace(self.choice, bugs=choose_bugs(context, REPAIR_BUG_SHARE, self._rng))

    def _of_family(self, is_right: Callable[[Family, Family], bool]) -> Choice | None:
        """The present decisions with another family; `None` if there is none that suits the features."""
        families = [
            family
            for family, treatment in combinations(self.task)
            if treatment is self.choice.treatment and is_right(family, self.choice.family)
        ]
        if not families:
            return None
        family = self._rng.choices(families, [family.share for family in families])[0]
        facts = read_facts(self.task)
        setting = self._rng.choice(family.settings[facts.kind == "regression"])
        bugs = choose_bugs(Context(self.task, facts, family), self._bug_share / 4, self._rng)
        return replace(self.choice, family=family, setting=setting, bugs=bugs)


def first_choices(tasks: Sequence[TaskSpec], n: int, distinct: int, seed: int, bug_share: float) -> list[Choice]:
    """Decisions of the first programs of `n` episodes, of task `index % len(tasks)`; at most `distinct` different ones per task.

    Every program of an episode is run, so a few programs that return are much cheaper than new ones.

    Raises:
        TaskError: there are no demonstrations for the metric or for the kind of columns of a task.
        ConfigError: `tasks` is empty, or a number is out of range.
    """
    if not tasks:
        raise ConfigError("there is no task to write demonstrations for. Name at least one.")
    if n < 1 or distinct < 1:
        raise ConfigError(f"{n} episodes of {distinct} first programs were asked for; both must be at least 1.")
    rng = Random(seed)
    pools = [[choose(task, rng, bug_share) for _ in range(min(n, distinct))] for task in tasks]
    return [rng.choice(pools[index % len(tasks)]) for index in range(n)]
