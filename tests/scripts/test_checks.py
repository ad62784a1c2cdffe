"""Checks of settings before hours are spent."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from tests.support.tasks import toy_task
from trl_mle.errors import ConfigError
from trl_mle.scripts.checks import check_best_metric


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
