"""Demonstrations from earlier programs: of a run, a store and its export."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pandas as pd
import pytest

from tests.support.rollouts import write_batch
from tests.support.tasks import toy_task
from trl_mle.errors import ConfigError
from trl_mle.experience import ExperienceStore
from trl_mle.outcomes import to_row
from trl_mle.programs import extract_program
from trl_mle.prompts import build_prompt
from trl_mle.scripts.demonstrations import DemonstrationArguments, load_demonstrations
from trl_mle.types import MILESTONES, Execution, Grade, Outcome, Program

STEPS = "import pandas as pd\ntrain = pd.read_csv('input/train.csv')\nmodel = Ridge().fit(train[['a']], train['y'])\n"


def valid(reward, name="x"):
    return Outcome(
        "toy",
        "valid",
        reward,
        1.0,
        reward_parts={"score": reward},
        program=Program(f"plan {name}", f"{name} = {reward}\n"),
        execution=Execution("ok", 0, 1.0, 1.0, 0, "", ""),
        public=Grade(1.0 - reward, True),
        private=Grade(0.987654321, True),
    )


def failed(code):
    line = code.count("\n")
    stderr = f'Traceback (most recent call last):\n  File "main.py", line {line}, in <module>\n    x\nNameError: x\n'
    execution = Execution("error", 1, 1.0, 1.0, 0, "", stderr, milestones=MILESTONES[:5])
    return Outcome(
        "toy",
        "failure",
        -9.5,
        1.0,
        {"failure": -10.0, "milestones": 0.5},
        Program("a plan", code),
        execution=execution,
    )


OUTCOMES = [*(valid(number / 10) for number in range(10)), failed(STEPS + "missing\n"), failed("missing\n")]
FAULT = Outcome("toy", "fault", None, None, fault="the machine is gone")


@pytest.fixture
def task(tmp_path):
    return toy_task(tmp_path)


@pytest.fixture
def store(tmp_path):
    path = tmp_path / "experience.sqlite"
    store = ExperienceStore(path)
    for outcome in [*OUTCOMES, FAULT]:
        store.add(outcome)
    store.close()
    return path


@pytest.fixture
def run(tmp_path):
    prompt = [{"role": "user", "content": "the prompt of the run"}]
    rows = [
        to_row(outcome)
        | {
            "prompt": prompt,
            "completion": [
                {
                    "role": "assistant",
                    "content": f"<think>so</think>{outcome.program.plan}\n```python\n{outcome.program.code}```",
                }
            ],
        }
        for outcome in OUTCOMES
    ]
    write_batch(tmp_path / "run", 0, rows)
    return tmp_path / "run"


def load(source, task, **settings):
    arguments = DemonstrationArguments(demonstrations=str(source), tasks=[str(task.folder)], **settings)
    return load_demonstrations(arguments).to_list()


def programs(rows):
    return Counter(extract_program(row["completion"]).code for row in rows)


def test_a_store_gives_each_valid_program_once(store, task):
    rows = load(store, task)
    assert programs(rows) == Counter(outcome.program.code for outcome in OUTCOMES[:10])
    assert all(row["prompt"] == build_prompt(task) for row in rows)
    assert "0.987654" not in json.dumps(rows)


def test_a_run_keeps_its_prompts_and_completions(run, task):
    rows = load(run, task)
    assert programs(rows) == Counter(outcome.program.code for outcome in OUTCOMES[:10])
    assert {row["prompt"][0]["content"] for row in rows} == {"the prompt of the run"}
    assert all(row["completion"][0]["content"].startswith("<think>") for row in rows)


def test_an_export_is_read_as_its_store(store, task, tmp_path):
    with_store = load(store, task)
    export = tmp_path / "export.parquet"
    opened = ExperienceStore(store)
    opened.export(export)
    opened.close()
    assert load(export, task) == with_store


def test_better_programs_are_drawn_more_often(store, task):
    counts = programs(load(store, task, demonstration_weighting="return", demonstration_temperature=0.5))
    assert sum(counts.values()) == 10
    assert counts["x = 0.9\n"] >= 5
    assert not counts["x = 0.0\n"]


def test_copies_of_a_program_count_once(tmp_path, task):
    write_batch(tmp_path / "run", 0, [to_row(valid(0.5)) for _ in range(5)] + [to_row(valid(0.6))])
    assert len(load(tmp_path / "run", task)) == 2


def test_rollouts_of_agents_are_refused(tmp_path, task):
    """The last message of an episode is no answer to its prompt: it may be a call, or come after one."""
    said = [{"role": "assistant", "content": "A call."}, {"role": "tool", "content": "It ran."}]
    prompt = [{"role": "user", "content": "Solve it with tools."}]
    path = write_batch(
        tmp_path / "run", 0, [to_row(valid(0.5)) | {"prompt": prompt, "completion": said, "turns": "[]"}]
    )
    for source in (tmp_path / "run", path):
        with pytest.raises(ConfigError, match="those of agents"):
            load(source, task)


def test_failed_programs_are_shown_for_what_they_reached(store, task):
    rows = load(store, task, hindsight_share=0.5)
    (row,) = [row for row in rows if "# Only a part" in row["prompt"][-1]["content"]]
    assert extract_program(row["completion"]).code == STEPS
    assert len(rows) == 11


def test_children_answer_the_prompt_that_showed_their_parent(tmp_path, task):
    path = tmp_path / "chain.sqlite"
    store = ExperienceStore(path)
    parent = store.add(valid(0.1, "parent"))
    store.add(valid(0.2, "child"), prompt_kind="improve", parent=parent)
    store.close()
    rows = load(path, task)
    assert "parent = 0.1" in rows[1]["prompt"][-1]["content"]
    assert "0.987654" not in json.dumps(rows)


def test_a_parent_that_no_prompt_can_show_costs_its_child_alone(tmp_path, task):
    with ExperienceStore(tmp_path / "store.sqlite") as store:
        store.add(valid(0.1))
        lost = store.add(replace(valid(0.2, "lost"), kind="fault"))
        store.add(valid(0.3, "child"), prompt_kind="improve", parent=lost)
    assert len(load(tmp_path / "store.sqlite", task)) == 1


def test_chain_credit_moves_weight_to_the_parent(tmp_path, task):
    path = tmp_path / "chain.sqlite"
    store = ExperienceStore(path)
    parent = store.add(valid(0.1, "parent"))
    for number in range(8):
        store.add(valid(0.11 + number / 1000, f"other_{number}"))
    store.add(valid(0.9, "child"), prompt_kind="improve", parent=parent)
    store.close()
    settings = {"demonstration_weighting": "return", "demonstration_temperature": 0.3}
    without, with_credit = (programs(load(path, task, chain_discount=discount, **settings)) for discount in (0.0, 0.5))
    assert with_credit["parent = 0.1\n"] > without["parent = 0.1\n"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"demonstration_weighting": "best"}, "`demonstration_weighting` is 'best'"),
        ({"demonstration_temperature": 0}, "`demonstration_temperature` is 0"),
        ({"chain_discount": 2}, "`chain_discount` is 2"),
        ({"hindsight_share": 1}, "`hindsight_share` is 1"),
        ({"chain_discount": 0.5}, "no program in .* has its parent there"),
    ],
)
def test_settings_that_cannot_work_are_named(run, task, settings, words):
    with pytest.raises(ConfigError, match=words):
        load(run, task, **settings)


def test_weights_need_earlier_programs(task):
    with pytest.raises(
        ConfigError, match="`demonstration_weighting` is 'return', but `demonstrations` is 'generated'"
    ):
        load("generated", task, demonstration_weighting="return")


def test_sources_without_a_program_are_named(tmp_path, task):
    write_batch(tmp_path / "run", 0, [to_row(OUTCOMES[-1])])
    with pytest.raises(ConfigError, match="hold no valid program"):
        load(tmp_path / "run", task)
    write_batch(tmp_path / "other", 0, [to_row(replace(valid(0.5), task_id="elsewhere"))])
    with pytest.raises(ConfigError, match="holds programs of elsewhere"):
        load(tmp_path / "other", task)
    with pytest.raises(ConfigError, match="'elsewhere', which cannot be loaded by that name"):
        load_demonstrations(DemonstrationArguments(demonstrations=str(tmp_path / "other")))
    (tmp_path / "other.sqlite").write_bytes(b"SQLite format 3\0" + bytes(100))
    with pytest.raises(ConfigError, match=r"other\.sqlite"):
        load(tmp_path / "other.sqlite", task)


def test_texts_that_end_a_turn_are_left_out(tmp_path, task):
    rows = [to_row(valid(0.5)), to_row(replace(valid(0.6), program=Program("<|im_end|>", "x = 2\n")))]
    write_batch(tmp_path / "run", 0, rows)
    assert programs(load(tmp_path / "run", task)) == Counter(["x = 0.5\n"])


def test_a_parquet_file_of_demonstrations_is_no_export(tmp_path):
    path = tmp_path / "mine.parquet"
    pd.DataFrame({"prompt": ["a"], "completion": ["b"]}).to_parquet(path)
    rows = load_demonstrations(DemonstrationArguments(demonstrations=str(path))).to_list()
    assert rows == [{"prompt": "a", "completion": "b"}]


@pytest.mark.slow
def test_the_recipe_learns_from_a_run(run, task, tmp_path, capsys):
    from tests.scripts.test_recipes import recipe
    from tests.scripts.test_sft import flags

    sft = recipe("sft_mle")
    source = ("--demonstrations", run, "--tasks", task.folder, "--demonstration_weighting", "return")
    assert sft.main(flags(tmp_path / "policy", *source, "--hindsight_share", "0.3")) == 0
    shown = capsys.readouterr().out
    assert "10 different valid programs" in shown
    assert "on 11 demonstrations" in shown
