"""The agent's prompt states the budget, and keeps to its own."""

from __future__ import annotations

import pytest

from tests.support.tasks import toy_task
from trl_mle import EpisodeBudget, LocalSandbox, MLESpec, PromptBudget
from trl_mle.errors import ConfigError, TaskError
from trl_mle.prompts import build_agent_prompt, build_prompt


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return toy_task(tmp_path_factory.mktemp("task"))


def test_it_has_the_task_and_the_budget(task):
    system, user = build_agent_prompt(task, runs=3, seconds=60.0)
    facts = build_prompt(task)[1]["content"].split("# Answer")[0].strip()
    assert facts in user["content"]
    assert "At most 3 programs may be run, for 60 s in all." in user["content"]
    assert "answers is not told" in user["content"]
    told = build_agent_prompt(task, runs=3, seconds=60.0, tells_score=True)[1]["content"]
    assert told.endswith("score on a part of the hidden answers is told.")
    assert "submit()" in user["content"]
    assert [system["role"], user["role"]] == ["system", "user"]
    assert "files that the one before it" not in user["content"]
    assert (
        "files that the one before it" in build_agent_prompt(task, runs=3, seconds=60, keeps_files=True)[1]["content"]
    )
    assert "Only one program may be run, for 20 s." in build_agent_prompt(task, runs=1, seconds=20)[1]["content"]


def test_it_keeps_its_token_budget(task):
    budget = PromptBudget(100, lambda messages: sum(len(message["content"]) for message in messages), ("each",))
    with pytest.raises(ConfigError, match="prompts may have 100"):
        build_agent_prompt(task, runs=3, seconds=60.0, budget=budget)
    wide = PromptBudget(10_000, budget.count, ("each",))
    assert "each" not in build_agent_prompt(task, runs=3, seconds=60.0, budget=wide)[1]["content"]
    with pytest.raises(TaskError, match="load_task"):
        build_agent_prompt("toy", runs=1, seconds=1.0)


def test_the_spec_states_the_limits_that_hold(task):
    spec = MLESpec(
        {"toy": task},
        budget=EpisodeBudget(runs=2),
        sandbox=LocalSandbox(workers=1),
        wall_s=7.0,
        memory_bytes=2**29,
        prompts=2,
    )
    (row,) = spec.rows()
    assert "stopped after 7 s" in row["prompt"][1]["content"]
    assert "0.5 GiB of memory" in row["prompt"][1]["content"]
    assert "for 14 s in all" in row["prompt"][1]["content"]
    assert (len(spec.train_dataset), len(spec.eval_dataset)) == (16, 1)
    assert spec.train_dataset[5] == row
