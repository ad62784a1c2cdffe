"""Demonstrations: programs without a mistake are valid, and each mistake breaks its program as its `shows_as` says."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from tests.support.tasks import toy_task
from trl_mle import build_prompt, extract_program
from trl_mle.demo import (
    FAMILIES,
    generate_completion,
    generate_demonstrations,
)
from trl_mle.errors import ConfigError


def test_a_demonstration_extracts_to_a_plan_and_a_program(tmp_path):
    task = toy_task(tmp_path)
    for seed in range(20):
        program = extract_program(generate_completion(task, random.Random(seed)))
        assert program.plan
        assert 'to_csv("' in program.code


def test_the_same_seed_gives_the_same_demonstrations(tmp_path):
    task = toy_task(tmp_path)
    first, second, other = (generate_demonstrations([task], 30, seed) for seed in (1, 1, 2))
    assert first == second != other
    assert {row["task"] for row in first} == {"toy"}


@pytest.mark.parametrize("share", [0.0, 0.6])
def test_the_share_of_programs_with_a_mistake(tmp_path, share):
    rows = generate_demonstrations([toy_task(tmp_path)], 600, 0, share)
    assert sum(bool(row["bugs"]) for row in rows) / 600 == pytest.approx(share, abs=0.06)


def test_slow_families_are_rare_and_all_are_written(tmp_path):
    rows = generate_demonstrations([toy_task(tmp_path)], 1500, 0)
    written = {family.name: sum(row["family"] == family.name for row in rows) / 1500 for family in FAMILIES}
    assert min(written.values()) > 0
    assert written["tuned"] + written["stacking"] < 0.15


def test_impossible_shares_and_counts_are_named(tmp_path):
    task = toy_task(tmp_path)
    with pytest.raises(ConfigError, match=r"`bug_share` is 1\.5"):
        generate_completion(task, random.Random(0), bug_share=1.5)
    with pytest.raises(ConfigError, match="at least 1"):
        generate_demonstrations([task], 0, 0)


def test_the_prompt_states_the_limit_that_a_run_sets(tmp_path):
    prompt = build_prompt(replace(toy_task(tmp_path), time_limit_s=12.0))
    assert "12 s" in prompt[-1]["content"]
