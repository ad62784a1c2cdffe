"""Metrics of each task: means over completions, for few tasks by name."""

from collections import defaultdict
from statistics import fmean
from types import SimpleNamespace

from trl_mle.rewards.task_metrics import TASKS_SHOWN, log_task_metrics


def outcome(task_id, kind="valid", reward=0.5, score=0.9):
    parts = {"score": reward} if kind == "valid" else {"failure": reward}
    public = SimpleNamespace(score=score)
    return SimpleNamespace(task_id=task_id, kind=kind, reward=reward, reward_parts=parts, public=public)


def means(outcomes, task_ids):
    logged = defaultdict(list)
    log_task_metrics(outcomes, task_ids, lambda name, value: logged[name].append(value))
    return {name: fmean(values) for name, values in logged.items()}


def test_every_task_has_its_own():
    batch = [outcome("a"), outcome("a", "failure", -10.0, None), outcome("b", reward=0.1), outcome("b", "fault", None)]
    assert means(batch, ["a", "b"]) == {
        "task/a/reward": -4.75,
        "task/a/valid_share": 0.5,
        "task/a/score_reward": 0.5,
        "task/a/public_score": 0.9,
        "task/b/reward": 0.1,
        "task/b/valid_share": 1.0,
        "task/b/score_reward": 0.1,
        "task/b/public_score": 0.9,
    }


def test_a_run_with_one_task_has_none():
    assert means([outcome("a")], ["a"]) == {}


def test_hundreds_of_tasks_have_few_metrics():
    ids = [f"t{number}" for number in range(300)]
    names = means([outcome(task_id) for task_id in ids], ids)
    assert len(names) == 4 * TASKS_SHOWN + 3
    assert {name for name in names if "others" in name} == {
        "task/others/reward",
        "task/others/valid_share",
        "task/others/score_reward",
    }
