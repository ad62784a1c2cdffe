"""prompts_dataset: rows for TRL's trainers, from tasks or their names."""

from dataclasses import replace

import pytest
from trl.trainer.utils import RepeatSampler

from tests.support.tasks import toy_task
from trl_mle import build_prompt, prompts_dataset
from trl_mle.dataset import BATCHES_PER_EPOCH, evaluation_dataset
from trl_mle.errors import ConfigError, TaskError


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return toy_task(tmp_path_factory.mktemp("task"))


def test_a_row_holds_the_prompt_and_the_name_of_its_task(task):
    other = replace(task, id="other", title="Another line")
    dataset = prompts_dataset({"a": task, "b": other}, prompts=3)
    assert dataset.column_names == ["prompt", "task"]
    assert dataset["task"] == ["a", "b"] * 3 * BATCHES_PER_EPOCH
    assert dataset[0]["prompt"] == build_prompt(task)
    assert dataset[1]["prompt"] == build_prompt(other)


def test_tasks_names_and_paths_may_be_mixed(task):
    other = replace(task, id="other")
    assert set(prompts_dataset([task, str(task.folder)])["task"]) == {"toy", str(task.folder)}
    assert set(prompts_dataset((task, other))["task"]) == {"toy", "other"}
    for one in (str(task.folder), task.folder):
        dataset = prompts_dataset(one, prompts=1)
        assert set(dataset["task"]) == {str(task.folder)}
        assert dataset[0]["prompt"] == build_prompt(task)
    assert prompts_dataset(task, prompts=1)["task"] == ["toy"] * BATCHES_PER_EPOCH


@pytest.mark.parametrize("prompts", [1, 4, 16])
def test_generation_batches_fill_an_epoch(task, prompts):
    dataset = prompts_dataset([task, replace(task, id="other")], prompts=prompts)
    sampler = RepeatSampler(dataset, mini_repeat_count=2, batch_size=prompts, shuffle=True, seed=0)
    assert len(list(sampler)) == 2 * BATCHES_PER_EPOCH * prompts * 2  # tasks, batches, prompts, generations


def test_the_default_is_enough_for_every_common_generation_batch(task):
    assert len(prompts_dataset(task)) == 64


@pytest.mark.parametrize(
    ("tasks", "prompts", "message"),
    [
        ([], 1, "`tasks` is empty"),
        ({}, 1, "`tasks` is empty"),
        (["TASK", "TASK"], 1, "names 'toy' twice"),
        ([3], 1, "3 of type int"),
        (["TASK"], 0, "`prompts` is 0"),
    ],
)
def test_wrong_arguments_name_the_fix(task, tasks, prompts, message):
    if isinstance(tasks, list):
        tasks = [task if item == "TASK" else item for item in tasks]
    with pytest.raises(ConfigError, match=message):
        prompts_dataset(tasks, prompts)


def test_an_unknown_name_lists_the_tasks():
    with pytest.raises(TaskError, match="builtin:digits"):
        prompts_dataset("digits")


def test_an_evaluation_has_one_row_per_task(task):
    other = replace(task, id="other")
    dataset = evaluation_dataset([task, other])
    assert dataset["task"] == ["toy", "other"]
    assert dataset[0]["prompt"] == build_prompt(task)
    with pytest.raises(ConfigError, match="empty"):
        evaluation_dataset([])
