"""Checks of settings before hours are spent."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from tests.support.tasks import toy_task
from trl_mle.errors import ConfigError
from trl_mle.scripts.checks import check_best_metric, check_kind_of_policy


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return toy_task(tmp_path_factory.mktemp("task"))


def check(metric, greater_is_better, *tasks):
    args = SimpleNamespace(metric_for_best_model=metric, greater_is_better=greater_is_better)
    check_best_metric(args, {str(number): task for number, task in enumerate(tasks)})


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_a_raw_score_must_have_the_direction_of_the_task(task, direction):
    task = replace(task, direction=direction)
    check("eval_programs/public_score", direction == "maximize", task)
    with pytest.raises(ConfigError, match=f"one to {direction}.*score_or_worst"):
        check("programs/public_score", direction != "maximize", task)


def test_raw_scores_of_several_tasks_are_not_compared(task):
    with pytest.raises(ConfigError, match="not comparable"):
        check("programs/public_score", True, task, task)


@pytest.mark.parametrize("metric", [None, "reward", "eval_programs/score_or_worst"])
def test_other_metrics_need_no_direction(task, metric):
    check(metric, True, task, task)


@pytest.mark.parametrize(("file", "use_peft"), [("config.json", True), ("adapter_config.json", False)])
def test_an_adapter_and_a_whole_model_are_not_put_into_one_folder(tmp_path, file, use_peft):
    check_kind_of_policy(str(tmp_path), use_peft)
    (tmp_path / file).touch()
    check_kind_of_policy(str(tmp_path), not use_peft)
    with pytest.raises(ConfigError, match="Choose another `output_dir`"):
        check_kind_of_policy(str(tmp_path), use_peft)


@pytest.mark.parametrize(("file", "use_peft"), [("config.json", True), ("adapter_config.json", False)])
def test_a_checkpoint_of_the_other_kind_is_not_resumed_from(tmp_path, file, use_peft):
    checkpoint = tmp_path / "checkpoint-1"
    checkpoint.mkdir()
    (checkpoint / file).touch()
    check_kind_of_policy(str(tmp_path), not use_peft, str(checkpoint))
    with pytest.raises(ConfigError, match=f"Set `use_peft: {str(not use_peft).lower()}` to resume"):
        check_kind_of_policy(str(tmp_path), use_peft, str(checkpoint))
