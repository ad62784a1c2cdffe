"""Demonstrations of improvement: the decisions of an earlier solution, and of one that changes a few of them.

The change is random and not biased to better solutions. Which changes help is left to reinforcement learning.
"""

from __future__ import annotations

from random import Random

from trl_mle.demo.bugs import Context, choose_bugs
from trl_mle.demo.programs import Choice, choose, combinations
from trl_mle.demo.table import read_facts
from trl_mle.types import TaskSpec

TWO_CHANGES = 0.3
"""Share of improvements that change two decisions. The others change one."""
DECISIONS = ("family", "treatment", "setting", "refit")


def choose_parent(task: TaskSpec, rng: Random) -> Choice:
    """The decisions of an earlier solution without a mistake. All families are as frequent, because a policy that has learned
    shows good and slow solutions most."""
    families = list(dict.fromkeys(family for family, _ in combinations(task)))
    return choose(task, rng, 0.0, rng.choice(families))


def choose_child(task: TaskSpec, parent: Choice, rng: Random, bug_share: float) -> Choice:
    """The decisions of `parent` with one or two of them changed, and mistakes as often as in any other program."""
    facts = read_facts(task)
    suited = combinations(task)
    changes = 2 if rng.random() < TWO_CHANGES else 1
    family, treatment, setting, refit = parent.family, parent.treatment, parent.setting, parent.refit
    for decision in rng.sample(DECISIONS, len(DECISIONS)):
        if not changes:
            break
        if decision == "family":
            others = list(dict.fromkeys(pair[0] for pair in suited if pair[0] is not family))
            if not others:
                continue
            family = rng.choices(others, [other.share for other in others])[0]
            setting = rng.choice(family.settings[facts.kind == "regression"])
            if (family, treatment) not in suited:
                treatment = rng.choice([pair[1] for pair in suited if pair[0] is family])
        elif decision == "treatment":
            treatments = [pair[1] for pair in suited if pair[0] is family and pair[1] is not treatment]
            if not treatments:
                continue
            treatment = rng.choice(treatments)
        elif decision == "setting":
            settings = [other for other in family.settings[facts.kind == "regression"] if other != setting]
            if not settings:
                continue
            setting = rng.choice(settings)
        else:
            refit = not refit
        changes -= 1
    bugs = choose_bugs(Context(task, facts, family), bug_share, rng)
    return Choice(family, treatment, setting, refit, bugs)
