"""Demonstrations of improvement: the change is small and random, and the earlier solution looks like one of a run."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from tests.support.tasks import toy_task
from trl_mle import ProgramScorer, build_prompt, extract_program
from trl_mle.demo import FAMILIES, build_completion, combinations, generate_demonstrations
from trl_mle.demo.improvements import choose_child, choose_parent
from trl_mle.demo.plausible import QUALITY, earlier_outcome
from trl_mle.demo.programs import choose
from trl_mle.demo.table import KINDS
from trl_mle.demo.tiny_policy import build_tokenizer
from trl_mle.errors import ConfigError
from trl_mle.grading import METRICS


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return toy_task(tmp_path_factory.mktemp("task"))


def changes(parent, child) -> set[str]:
    return {
        name
        for name in ("family", "treatment", "setting", "refit")
        if getattr(parent, name) != getattr(child, name) and not (name == "setting" and parent.family != child.family)
    }


def test_a_child_changes_one_or_two_decisions(task):
    rng = Random(0)
    counts, decisions = Counter(), Counter()
    for _ in range(800):
        parent = choose_parent(task, rng)
        child = choose_child(task, parent, rng, 0.6)
        assert not parent.bugs and (child.family, child.treatment) in combinations(task)
        assert child.setting in child.family.settings[True]
        changed = changes(parent, child)
        counts[len(changed)] += 1
        decisions.update(changed)
    # A change of the setting and then of the family is one change that shows.
    assert set(counts) == {1, 2} and 0.15 < counts[2] / 800 < 0.35
    assert all(decisions[name] > 150 for name in ("family", "treatment", "setting", "refit"))


def test_changes_are_not_biased_to_better_families(task):
    rng = Random(1)
    others = Counter()
    for _ in range(1500):
        parent = choose_parent(task, rng)
        child = choose_child(task, parent, rng, 0.6)
        if child.family is not parent.family:
            others[child.family.name] += 1
    total = sum(others.values())
    for family in FAMILIES:
        # Of the other families, one is drawn by its share; the parents' families are as frequent.
        expected = sum(family.share / (1 - other.share) for other in FAMILIES if other is not family) / len(FAMILIES)
        assert others[family.name] / total == pytest.approx(expected, abs=0.05)


def test_parents_are_of_all_families_and_numbers_are_of_all_too():
    assert set(QUALITY) == {family.name for family in FAMILIES}


def test_an_earlier_outcome_is_what_a_completion_holds(task):
    rng = Random(2)
    for _ in range(30):
        choice = choose_parent(task, rng)
        assert earlier_outcome(task, choice, rng).program == extract_program(build_completion(task, choice))


@pytest.mark.asyncio(loop_scope="module")
async def test_the_prompt_is_the_one_that_a_run_would_show(task, sandbox):
    """Apart from the numbers: prompts of demonstrations and of runs are equal to the last character."""
    rng = Random(3)
    for _ in range(2):
        choice = choose(task, rng, 0.0, FAMILIES[rng.choice([1, 2, 3])])
        real = await ProgramScorer(sandbox).score(build_completion(task, choice), task)
        assert real.kind == "valid"
        prompts = [build_prompt(task, outcome) for outcome in (real, earlier_outcome(task, choice, rng))]
        first, second = (re.sub(r"(score: |It ran )[\d.e-]+", r"\1N", prompt[1]["content"]) for prompt in prompts)
        assert first == second


@pytest.mark.parametrize("metric", KINDS)
def test_numbers_are_plausible_for_every_metric(task, metric):
    rng = Random(4)
    direction = METRICS[metric].direction
    target = {"regression": "y"}.get(KINDS[metric], "id")
    other = replace(task, metric=metric, direction=direction, target_column=target, prediction_columns=(target,))
    for family in FAMILIES:
        choice = choose(task, rng, 0.0, family)
        outcome = earlier_outcome(other, choice, rng)
        score = outcome.public.score
        assert 0 <= outcome.duration_s <= task.time_limit_s
        assert 0 <= score <= (1 if direction == "maximize" else 100)
        assert re.fullmatch(r"hold-out score: [\d.e-]+\n", outcome.execution.stdout)


def test_the_share_of_improvements(task):
    rows = generate_demonstrations([task], 400, 0, 0.6, improve_share=0.5)
    assert sum(row["parent"] is not None for row in rows) / 400 == pytest.approx(0.5, abs=0.08)
    assert all(row["parent"] is None for row in generate_demonstrations([task], 20, 0))
    assert generate_demonstrations([task], 20, 0, 0.6, improve_share=1.0)[7]["parent"].kind == "valid"
    with pytest.raises(ConfigError, match="`improve_share` is 2"):
        generate_demonstrations([task], 1, 0, improve_share=2)


def test_numbers_of_earlier_solutions_are_no_tokens(task):
    rows = generate_demonstrations([task], 300, 0, 0.6, improve_share=1.0)
    texts = [text for row in rows for text in (build_prompt(task, row["parent"])[1]["content"], row["completion"])]
    tokenizer = build_tokenizer(texts, 2048)
    idioms = [token.content for token in tokenizer.added_tokens_decoder.values() if not token.special]
    assert not [idiom for idiom in idioms if re.search(r"(score: |It ran )\d", idiom)]
    assert len(idioms) < 200
    assert max(len(tokenizer(row["completion"])["input_ids"]) for row in rows) < 60
