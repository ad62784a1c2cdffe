"""What a demonstrated agent tries next."""

from __future__ import annotations

from random import Random

import pytest

from tests.support.tasks import toy_task
from trl_mle.demo.episodes import DemoAgent, first_choices
from trl_mle.demo.plausible import QUALITY
from trl_mle.errors import ConfigError


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return toy_task(tmp_path_factory.mktemp("task"))


def agents(task, kind_of=lambda choice: "failure" if choice.bugs else "valid"):
    """Pairs of decisions, before and after an answer of the environment, and whether the agent goes on."""
    for number, first in enumerate(first_choices([task], 300, 80, seed=1, bug_share=0.6)):
        agent = DemoAgent(task, first, Random(number), 0.6)
        goes_on = agent.proceed(kind_of(first))
        yield first, agent.choice, goes_on


def test_failures_are_repaired_and_the_decisions_stay(task):
    repairs = [(before, after) for before, after, _ in agents(task) if before.bugs]
    assert all(
        (a.family, a.treatment, a.setting, a.refit) == (b.family, b.treatment, b.setting, b.refit) for a, b in repairs
    )
    assert 0.6 < sum(not after.bugs for _, after in repairs) / len(repairs) < 0.95


def test_valid_programs_are_submitted_or_changed(task):
    valid = [(before, after, goes_on) for before, after, goes_on in agents(task) if not before.bugs]
    assert 0.15 < sum(not goes_on for *_, goes_on in valid) / len(valid) < 0.45
    changed = [(before, after) for before, after, goes_on in valid if goes_on]
    assert all(before != after for before, after in changed if not after.bugs)
    better = sum(QUALITY[a.family.name] > QUALITY[b.family.name] for b, a in changed)
    assert better > len(changed) / 3


def test_a_program_that_was_too_slow_is_followed_by_a_faster_one(task):
    pairs = [(before, after) for before, after, _ in agents(task, lambda choice: "timeout") if not before.bugs]
    fastest = min(seconds for _, seconds in QUALITY.values())
    for before, after in pairs:
        seconds = QUALITY[before.family.name][1]
        assert QUALITY[after.family.name][1] < seconds or seconds == fastest


def test_first_programs_return_and_depend_on_the_seed_alone(task):
    choices = first_choices([task], 200, 20, seed=3, bug_share=0.6)
    assert len(set(map(id, choices))) <= 20
    assert [choice.setting for choice in first_choices([task], 200, 20, seed=3, bug_share=0.6)] == [
        choice.setting for choice in choices
    ]


@pytest.mark.parametrize(("n", "distinct"), [(0, 1), (1, 0)])
def test_numbers_out_of_range_are_named(task, n, distinct):
    with pytest.raises(ConfigError, match=f"{n} episodes of {distinct}"):
        first_choices([task], n, distinct, seed=0, bug_share=0.5)
