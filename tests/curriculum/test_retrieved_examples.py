"""Prompts that show solutions of similar tasks: from the run's own store, within the budget, and with nothing private."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.curriculum.test_experience_training import mle_reward
from tests.support.improvement_runs import SIZE, columns_of, outcome_of
from tests.support.tasks import toy_task
from tests.support.tiny import tiny_args, tiny_model, tiny_tokenizer
from trl_mle import DurationAwareTrainer, ExperienceStore, prompts_dataset
from trl_mle.config import ExperienceConfig
from trl_mle.curriculum import ExperiencePrompts
from trl_mle.curriculum.retrieved_examples import RetrievedExamples
from trl_mle.errors import ConfigError
from trl_mle.prompts import PromptBudget, build_prompt

HEADING = "# Solutions of similar tasks"


@pytest.fixture
def tasks(tmp_path):
    """Two tasks with equal facts."""
    task = toy_task(tmp_path)
    return {"toy": task, "other": replace(task, id="other", title="Another task")}


@pytest.fixture
def store(tmp_path):
    with ExperienceStore(tmp_path / "store.sqlite") as store:
        yield store


def words(prompt):
    """A token per word."""
    return sum(len(message["content"].split()) for message in prompt)


def prompts_of(tasks, store, budget=None, form="plan", **settings):
    examples = RetrievedExamples(tasks, 2, form, budget)
    return ExperiencePrompts(
        tasks, store, ExperienceConfig(retrieved_examples=2, **settings), budget, examples=examples
    )


def asked(prompts, tasks, generation=0):
    rows = [{"prompt": build_prompt(task), "task": name} for name, task in tasks.items()]
    return prompts.choose(rows, generation)


def test_a_run_shows_what_it_has_found_on_its_other_task(tasks, store):
    prompts = prompts_of(tasks, store, form="program")
    first = asked(prompts, tasks)
    assert not any(HEADING in json.dumps(row["prompt"]) for row in first), "nothing is known yet"
    outcomes = [outcome_of(f"{row['task']} {place}", tasks[row["task"]].id, private=0.987654) for place, row in
                enumerate(row for row in first for _ in range(SIZE))]  # fmt: skip
    rows = [row for row in first for _ in range(SIZE)]
    assert prompts.observe(columns_of(rows, outcomes, 0))["improve/retrieved_share"] == 0.0
    second = asked(prompts, tasks, 1)
    for row, other in zip(second, ("other", "toy"), strict=True):
        (best,) = store.best(other)
        text = row["prompt"][-1]["content"]
        assert HEADING in text and best.outcome.program.code.strip() in text
        assert row["prompt_kind"] == "scratch" and "987654" not in json.dumps(row["prompt"])
    metrics = prompts.observe(columns_of([row for row in second for _ in range(SIZE)], outcomes, 1))
    assert metrics["improve/retrieved_share"] == 1.0


def test_the_budget_is_kept_by_leaving_examples_out(tasks, store):
    store.add(outcome_of("a valid text", "other"))
    scratch = words(build_prompt(tasks["toy"]))
    for room in (0, 5, 200):
        budget = PromptBudget(scratch + room, words)
        row, _ = asked(prompts_of(tasks, store, budget), tasks)
        assert words(row["prompt"]) <= scratch + room
        assert (HEADING in row["prompt"][-1]["content"]) == (room == 200)


def test_prompts_to_improve_have_examples_too(tasks, store):
    parent, example = outcome_of("a valid text", "toy"), outcome_of("a valid text", "other")
    store.add(parent)
    store.add(replace(example, program=replace(example.program, plan="A plan of the other task.")))
    row, _ = asked(prompts_of(tasks, store, improve_fraction=1.0), tasks)
    assert row["prompt_kind"] == "improve"
    assert "A plan of the other task." in row["prompt"][-1]["content"]


def test_a_task_whose_table_cannot_be_read_is_left_out_and_named(tasks, store, caplog):
    broken = {**tasks, "other": replace(tasks["other"], train_file=None)}
    store.add(outcome_of("a valid text", "other"))
    store.add(outcome_of("a valid text", "toy"))
    rows = asked(prompts_of(broken, store), broken)
    assert "task 'other' cannot be compared" in caplog.text
    assert not any(HEADING in json.dumps(row["prompt"]) for row in rows)


def test_a_training_with_examples(tasks, store, tmp_path):
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m.content[-120:] }}\n{% endfor %}"
    store.add(outcome_of("a valid text", "other"))
    trainer = DurationAwareTrainer(
        model=tiny_model(),
        reward_funcs=mle_reward,
        args=tiny_args(tmp_path / "run", max_steps=2),
        train_dataset=prompts_dataset({"toy": tasks["toy"]}, prompts=2),
        processing_class=tokenizer,
        group_prompts=prompts_of(tasks, store),
    )
    trainer.train()
    assert trainer.state.log_history[0]["improve/retrieved_share"] == 1.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"retrieved_examples": -1}, "retrieved_examples"),
        ({"retrieved_form": "all"}, "`retrieved_form` is 'all'"),
        ({"retrieved_tasks": ["builtin:digits"]}, "Set all three"),
        ({"retrieved_tasks": ["builtin:digits"], "retrieved_examples": 1}, "Set all three"),
    ],
)
def test_settings_that_cannot_work_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        ExperienceConfig(**settings)
