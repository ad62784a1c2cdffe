"""A curriculum within a training on several tasks: who is practised, what is logged, and a resumed run."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pandas as pd
import pytest

from tests.support.improvement_runs import outcome_of
from tests.support.tasks import toy_task
from tests.support.tiny import tiny_args, tiny_model, tiny_tokenizer
from trl_mle import DurationAwareTrainer, prompts_dataset
from trl_mle.config import CurriculumConfig, ExperienceConfig
from trl_mle.curriculum import ExperiencePrompts
from trl_mle.curriculum.task_curriculum import TaskCurriculum
from trl_mle.rewards.records import prompt_columns, rollout_columns
from trl_mle.rewards.task_metrics import log_task_metrics

FAILED = {"kind": "failure", "reward": -10.0, "reward_parts": {"failure": -10.0}, "public": None}


async def mle_reward(completions, task, log_extra, log_metric, **kwargs):
    """What `MLEReward` logs, of outcomes that follow from the text of the completion; task `b` always fails."""
    outcomes = [outcome_of(text[0]["content"], name) for text, name in zip(completions, task, strict=True)]
    outcomes = [replace(each, **FAILED) if each.task_id == "b" else each for each in outcomes]
    for name, values in {**rollout_columns(outcomes), **prompt_columns(kwargs)}.items():
        log_extra(name, values)
    log_task_metrics(outcomes, ["a", "b"], log_metric)
    return [outcome.reward for outcome in outcomes]


def train(folder, tasks, config, resume=None, steps=6, **changes):
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m.content[-40:] }}\n{% endfor %}"
    trainer = DurationAwareTrainer(
        model=tiny_model(),
        reward_funcs=mle_reward,
        args=tiny_args(folder, max_steps=steps, save_strategy="steps", save_steps=3, **changes),
        train_dataset=prompts_dataset(tasks, prompts=2),
        processing_class=tokenizer,
        group_prompts=ExperiencePrompts(tasks, None, ExperienceConfig(), task_chooser=TaskCurriculum(tasks, config)),
    )
    trainer.train(resume_from_checkpoint=resume)
    files = sorted((folder / "rollouts").glob("train_*.parquet"))
    return trainer, pd.concat([pd.read_parquet(path) for path in files], ignore_index=True)


@pytest.fixture
def tasks(tmp_path):
    toy = toy_task(tmp_path)
    return {"a": replace(toy, id="a"), "b": replace(toy, id="b")}


def test_weights_are_the_shares_of_the_groups(tmp_path, tasks):
    _, table = train(tmp_path / "run", tasks, CurriculumConfig("weights", task_weights=[3, 1]))
    assert Counter(table["task_id"]) == {"a": 9 * 4, "b": 3 * 4}


def test_a_task_that_always_fails_gets_fewer_groups_and_a_resumed_run_the_same(tmp_path, tasks):
    config = CurriculumConfig("learnability", task_half_life=4, task_floor=0.3)
    settings = {"replace_flat_groups": True, "reward_scale_column": "task", "scale_rewards": "none"}
    trainer, table = train(tmp_path / "run", tasks, config, **settings)
    groups = {task_id: count // 4 for task_id, count in Counter(table["task_id"]).items()}
    assert groups["a"] > groups["b"] >= 1
    last = trainer.state.log_history[-2]
    assert last["task/b/share"] < 0.4 < last["task/a/share"]
    logged = [entry for entry in trainer.state.log_history if "task/b/valid_share" in entry]
    assert {entry["task/b/valid_share"] for entry in logged} == {0.0}
    assert max(entry["groups/flat_share"] for entry in logged) >= 0.5, "all completions of `b` have the same reward"

    _, again = train(tmp_path / "run", tasks, config, resume=str(tmp_path / "run/checkpoint-3"), **settings)
    columns = ["step", "task_id", "completion", "advantage"]
    pd.testing.assert_frame_equal(again[columns], table[columns])
