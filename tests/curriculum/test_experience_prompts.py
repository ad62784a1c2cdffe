"""Which groups are shown an earlier solution, which one, and what is kept of it."""

from __future__ import annotations

import json
import logging
from collections import Counter
from dataclasses import replace
from typing import get_args

import pytest

from tests.support.improvement_runs import GROUPS, SIZE, Simulation, columns_of, outcome_of
from tests.support.tasks import toy_task
from trl_mle.config import ExperienceConfig
from trl_mle.config.experience import PARENT_STRATEGIES, ParentStrategy
from trl_mle.curriculum import ExperiencePrompts
from trl_mle.errors import ConfigError, StoreError
from trl_mle.experience import STRATEGIES, ExperienceStore
from trl_mle.prompts import PromptBudget, build_prompt


def kinds(rows):
    return Counter(row["prompt_kind"] for row in rows)


def test_the_first_groups_start_from_scratch_and_half_of_the_later_ones_improve(tmp_path):
    run = Simulation(tmp_path)
    assert kinds(run.step()) == {"scratch": 2}
    assert run.metrics[0]["improve/fallback/no_parent"] == 0.5
    later = [row for _ in range(6) for row in run.step()]
    assert kinds(later) == {"scratch": 6, "improve": 6}
    assert run.metrics[-1]["improve/fallback/no_parent"] == 0.0
    assert run.metrics[-1]["improve/store_size"] == 7 * GROUPS * SIZE == len(run.store)
    assert run.metrics[-1]["improve/prompt_share"] == 0.5


def test_what_is_shown_is_the_parent(tmp_path):
    run = Simulation(tmp_path, parent_strategy="latest")
    rows = [row for _ in range(8) for row in run.step() if row["prompt_kind"] == "improve"]
    assert rows
    for row in rows:
        parent = run.store.get(row["parent_id"])
        assert parent.outcome.kind == "valid"
        assert parent.outcome.program.code.strip() in row["prompt"][-1]["content"]
        assert row["parent_score"] == parent.outcome.reward_parts["score"]
        assert row["lineage_depth"] == parent.depth + 1
    assert max(row["lineage_depth"] for row in rows) > 1


def test_the_store_knows_kind_parent_and_lineage_of_what_it_is_given(tmp_path):
    run = Simulation(tmp_path)
    for _ in range(5):
        run.step()
    by_kind = Counter()
    for experience in run.store:
        by_kind[experience.prompt_kind] += 1
        if experience.parent_id is None:
            assert experience.depth == 0
        else:
            assert experience.depth == run.store.get(experience.parent_id).depth + 1
    assert by_kind == {"scratch": 6 * SIZE, "improve": 4 * SIZE}


@pytest.mark.parametrize("strategy", PARENT_STRATEGIES)
def test_a_resumed_run_asks_what_the_uninterrupted_one_asks(tmp_path, strategy):
    whole = Simulation(tmp_path / "whole", parent_strategy=strategy)
    expected = whole.run(9)

    killed = Simulation(tmp_path / "killed", parent_strategy=strategy)
    killed.run(4)
    checkpoint = killed.checkpoint()
    killed.run(3)  # past the checkpoint, then it is killed
    killed.choose()
    killed.store.close()
    resumed = Simulation(tmp_path / "killed", task=killed.task, parent_strategy=strategy)
    resumed.resume(checkpoint)
    assert resumed.run(5) == expected[4 * GROUPS :]
    assert resumed.metrics[-1] == whole.metrics[-1]


def test_groups_that_are_in_flight_at_a_checkpoint_count_after_a_resume(tmp_path):
    run = Simulation(tmp_path)
    run.choose()
    (tmp_path / "resumed").mkdir()
    resumed = Simulation(tmp_path / "resumed", task=run.task)
    resumed.prompts.load_state_dict(run.prompts.state_dict())
    fallbacks = resumed.prompts._take_fallbacks()
    assert fallbacks["improve/fallback/no_parent"] == 0.5
    assert fallbacks == run.prompts._take_fallbacks()


def test_neither_the_private_score_nor_what_is_printed_has_a_part_in_the_choice(tmp_path):
    def parents(folder, **changes):
        run = Simulation(tmp_path / folder, **changes)
        # Outcomes follow from the prompt, which shows what is printed: the same rows are learned from.
        chosen = []
        for step in range(6):
            rows = run.choose()
            chosen.append([(row["prompt_kind"], row["parent_score"], row["lineage_depth"]) for row in rows])
            rows = [row for row in rows for _ in range(SIZE)]
            outcomes = [
                outcome_of(f"{step} {place}", private=run.private * place, printed=run.printed)
                for place in range(len(rows))
            ]
            run.prompts.observe(columns_of(rows, outcomes, step))
        return chosen

    plain = parents("plain")
    assert parents("private", private=9.0) == plain
    assert parents("printed", printed="score: 0.99 public score: 1.0 mle_reward 1.0\n" * 50) == plain


def test_no_prompt_has_the_private_score(tmp_path):
    run = Simulation(tmp_path, private=0.123454321, debug_fraction=0.5)
    assert "12345" not in json.dumps([run.step() for _ in range(6)])


def test_other_seeds_choose_other_parents(tmp_path):
    runs = [Simulation(tmp_path / str(seed), seed=seed, parent_strategy="uniform") for seed in range(2)]
    assert runs[0].run(8) != runs[1].run(8)


def test_debug_prompts_show_a_program_that_failed(tmp_path):
    run = Simulation(tmp_path, debug_fraction=0.5)
    rows = [row for _ in range(8) for row in run.step() if row["prompt_kind"] == "debug"]
    assert rows
    for row in rows:
        assert run.store.get(row["parent_id"]).outcome.kind == "failure"
        assert "ValueError: no" in row["prompt"][-1]["content"]
        assert row["parent_score"] is None
    assert run.metrics[-1]["improve/valid_share/debug"] >= 0


def test_a_parent_that_is_too_long_is_not_shown(tmp_path, caplog):
    def count(messages):
        return sum(len(message["content"]) for message in messages)

    room = count(Simulation(tmp_path / "task").scratch)
    run = Simulation(tmp_path, budget=PromptBudget(room + 5, count))
    rows = [row for _ in range(4) for row in run.step()]
    assert kinds(rows) == {"scratch": 8}
    assert all(row["parent_id"] is None for row in rows)
    assert run.metrics[-1]["improve/fallback/too_long"] == 0.5
    assert "max_prompt_tokens" not in caplog.text
    run.run(10)
    assert caplog.text.count(f"no earlier program fits into `max_prompt_tokens`={room + 5}") == 1


def test_a_parent_without_reward_parts_has_its_reward_as_score(tmp_path):
    run = Simulation(tmp_path, improve_fraction=1.0)
    run.store.add(replace(outcome_of("a valid text"), reward=0.25, reward_parts={}))
    assert {row["parent_score"] for row in run.choose()} == {0.25}


def test_copies_are_counted(tmp_path):
    run = Simulation(tmp_path, improve_fraction=1.0)
    run.step()
    chosen = run.choose()
    rows = [row for row in chosen for _ in range(SIZE)]
    parents = [run.store.get(row["parent_id"]).outcome for row in rows]
    outcomes = [*parents[:SIZE], *(outcome_of(f"new {place}") for place in range(SIZE))]
    metrics = run.prompts.observe(columns_of(rows, outcomes, 1))
    assert metrics["improve/copy_share"] == 0.5
    assert metrics["improve/better_share"] <= 0.5, "a copy is not better"


def test_not_a_number_and_lost_rows(tmp_path):
    run = Simulation(tmp_path)
    rows = [row for row in run.choose() for _ in range(SIZE)]
    outcomes = [outcome_of(str(place)) for place in range(len(rows))]
    columns = columns_of(rows, outcomes, 3, generated_at_step=[1] * len(rows))
    columns["kind"][0], columns["mle_reward"][0] = None, float("nan")  # lost to overlap
    columns["kind"][1], columns["mle_reward"][1] = "fault", float("nan")
    for part in ("score", "failure", "milestones"):
        columns[f"reward_{part}"][1] = None
    run.prompts.observe(columns)
    assert len(run.store) == len(rows) - 1
    assert {experience.step for experience in run.store} == {1}, "the step of the policy that wrote it"
    assert [e.outcome.reward for e in run.store if e.outcome.kind == "fault"] == [None]


def test_recipes_know_every_strategy():
    # The predictor is a part of the run, not of the store.
    assert set(PARENT_STRATEGIES) == {*STRATEGIES, "predicted"} == set(get_args(ParentStrategy))


class Broken:
    """A store of which nothing works."""

    def __getattr__(self, name):
        raise StoreError("disk full")

    def __len__(self):
        raise OSError("no such device")


def test_a_store_that_fails_costs_no_run(tmp_path, caplog):
    run = Simulation(tmp_path)
    run.step()
    run.prompts._store.store = Broken()
    rows = [row for _ in range(3) for row in run.step()]
    assert kinds(rows) == {"scratch": 6}
    assert run.metrics[-1]["improve/fallback/store"] == 0.5
    assert run.metrics[-1]["improve/store_faults"] == 3
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 3
    assert "left alone from now on" in errors[-1].getMessage()
    assert run.prompts.state_dict()["position"] is None
    run.prompts.close()


def test_a_checkpoint_of_another_store_is_an_error(tmp_path):
    run = Simulation(tmp_path / "run")
    run.run(3)
    empty = Simulation(tmp_path / "empty")
    with pytest.raises(ConfigError):
        empty.resume(run.checkpoint())


def test_a_row_without_a_known_task(tmp_path):
    run = Simulation(tmp_path)
    with pytest.raises(ConfigError, match="the task 'other', but the tasks of self-improvement prompts are"):
        run.prompts.choose([{"prompt": "p", "task": "other"}], 0)
    with pytest.raises(ConfigError, match="the task None"):
        run.prompts.choose([{"prompt": "p"}], 0)


def test_a_store_that_is_missing_is_named(tmp_path):
    task = toy_task(tmp_path)
    prompts = ExperiencePrompts({"toy": task}, None, ExperienceConfig(improve_fraction=1.0))
    with pytest.raises(ConfigError, match="`store` is None, but 'improve' prompts"):
        prompts.choose([{"prompt": build_prompt(task), "task": "toy"}], 0)


class Turns:
    """Gives every group the second task."""

    def __init__(self):
        self.state = 0

    def choose(self, names, generation):
        return ["second"] * len(names)

    def observe(self, columns):
        return {"tasks/batches": 1.0}

    def state_dict(self):
        return {"turns": 7}

    def load_state_dict(self, state):
        self.state = state["turns"]


def test_the_task_of_a_group_can_be_chosen_first(tmp_path):
    first = toy_task(tmp_path / "a")
    second = toy_task(tmp_path / "b", rows=60)
    chooser = Turns()
    store = ExperienceStore(tmp_path / "experience.sqlite")
    prompts = ExperiencePrompts(
        {"first": first, "second": second}, store, ExperienceConfig(improve_fraction=0.5), task_chooser=chooser
    )
    rows = prompts.choose([{"prompt": build_prompt(first), "task": "first"}] * 2, 0)
    assert [row["task"] for row in rows] == ["second", "second"]
    assert all(row["prompt"] == build_prompt(second) for row in rows)
    metrics = prompts.observe(columns_of(rows, [outcome_of("1"), outcome_of("2")], 0))
    assert metrics["tasks/batches"] == 1.0
    prompts.load_state_dict(prompts.state_dict())
    assert chooser.state == 7


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"improve_fraction": 1.5}, "`improve_fraction` is 1.5; it must be a number from 0 to 1"),
        ({"debug_fraction": -0.1}, "`debug_fraction` is -0.1"),
        ({"improve_fraction": float("nan")}, "`improve_fraction` is nan"),
        ({"improve_fraction": True}, "`improve_fraction` is True"),
        ({"improve_fraction": 0.7, "debug_fraction": 0.5}, "more than 1 together"),
        ({"parent_strategy": "best"}, "`parent_strategy` is 'best'; choose 'latest'"),
        ({"max_prompt_tokens": 0}, "`max_prompt_tokens` is 0"),
    ],
)
def test_settings_that_cannot_work(settings, message):
    with pytest.raises(ConfigError, match=message):
        ExperienceConfig(**settings)


def test_without_earlier_solutions_a_chooser_of_tasks_needs_no_store(tmp_path):
    task = toy_task(tmp_path)
    prompts = ExperiencePrompts({"second": task}, None, ExperienceConfig(), task_chooser=Turns())
    rows = prompts.choose([{"prompt": build_prompt(task), "task": "second"}] * 2, 0)
    assert kinds(rows) == {"scratch": 2}
    assert prompts.observe(columns_of(rows, [outcome_of("1"), outcome_of("2")], 0)) == {"tasks/batches": 1.0}
    prompts.load_state_dict(prompts.state_dict())
    prompts.close()
