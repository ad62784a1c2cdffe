"""The tasks that groups get: shares, what is learnt from rollouts, and checkpoints."""

from collections import Counter
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trl_mle.config import CurriculumConfig
from trl_mle.curriculum.task_curriculum import TaskCurriculum
from trl_mle.errors import ConfigError
from trl_mle.rewards.task_metrics import TASKS_SHOWN

TASKS = {f"builtin:{name}": SimpleNamespace(id=name) for name in ("easy", "hard", "half")}
LEARNING = CurriculumConfig("learnability", task_floor=0.2, task_half_life=16)


def rollouts(task, kinds, **columns):
    scores = [0.2 if kind == "valid" else None for kind in kinds]
    return {"task_id": [task] * len(kinds), "kind": kinds, "reward_score": scores, **columns}


def dealt(curriculum, groups):
    return Counter(curriculum.choose([""] * groups, 0))


def test_weights_are_shares_in_the_order_of_the_tasks():
    curriculum = TaskCurriculum(TASKS, CurriculumConfig("weights", [2, 1, 1]))
    assert dealt(curriculum, 40) == {"builtin:easy": 20, "builtin:hard": 10, "builtin:half": 10}


def test_the_task_that_is_half_learnt_gets_most_groups():
    curriculum = TaskCurriculum(TASKS, LEARNING)
    assert dealt(curriculum, 30) == dict.fromkeys(TASKS, 10)
    curriculum.observe(rollouts("easy", ["valid"] * 64))
    curriculum.observe(rollouts("hard", ["failure"] * 64))
    metrics = curriculum.observe(rollouts("half", ["valid", "failure"] * 32))
    assert metrics["task/half/share"] == metrics["curriculum/share_max"] > 0.6
    counts = dealt(curriculum, 100)
    assert counts["builtin:half"] > 60 and min(counts.values()) >= 100 * 0.2 / 3 - 1


def test_faults_and_lost_programs_say_nothing_of_the_policy():
    curriculum = TaskCurriculum(TASKS, LEARNING)
    curriculum.observe(rollouts("hard", ["fault", None] * 64))
    assert curriculum.learnability == dict.fromkeys(TASKS, 1.0)


def test_an_improvement_is_a_success_only_if_it_is_better_than_its_parent():
    curriculum = TaskCurriculum(TASKS, LEARNING)
    same = {"prompt_kind": ["improve"] * 64, "parent_score": [0.2] * 64}
    curriculum.observe(rollouts("easy", ["valid"] * 64, **same))
    worse = {"prompt_kind": ["improve"] * 64, "parent_score": [0.1, 0.3] * 32}
    curriculum.observe(rollouts("half", ["valid"] * 64, **worse))
    assert curriculum.learnability["builtin:easy"] < 0.3 < 0.9 < curriculum.learnability["builtin:half"]


def test_hundreds_of_tasks_have_few_metrics():
    tasks = {f"t{number}": SimpleNamespace(id=f"t{number}") for number in range(300)}
    metrics = TaskCurriculum(tasks, LEARNING).observe({})
    assert len(metrics) == 2 + 2 * TASKS_SHOWN


def test_another_number_of_weights_is_an_error():
    with pytest.raises(ConfigError, match="`task_weights` has 2 numbers, but there are 3 tasks"):
        TaskCurriculum(TASKS, CurriculumConfig("weights", [1, 1]))


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"task_curriculum": "random"}, "task_curriculum"),
        ({"task_curriculum": "weights"}, "task_weights"),
        ({"task_weights": [1.0]}, "task_weights"),
        ({"task_curriculum": "weights", "task_weights": [0.0]}, "task_weights"),
        ({"task_floor": 0.0}, "task_floor"),
        ({"task_half_life": 0.5}, "task_half_life"),
    ],
)
def test_wrong_settings_are_named(settings, name):
    with pytest.raises(ConfigError, match=f"`{name}`"):
        CurriculumConfig(**settings)


BATCHES = st.lists(
    st.tuples(
        st.sampled_from(["easy", "hard", "half"]),
        st.lists(st.sampled_from(["valid", "failure", "timeout", "fault"]), max_size=8),
        st.integers(1, 4),
    ),
    max_size=12,
)


@given(batches=BATCHES)
def test_a_resumed_run_chooses_as_the_uninterrupted_one(batches):
    whole = resumed = TaskCurriculum(TASKS, LEARNING)
    for task, kinds, groups in batches:
        state, resumed = resumed.state_dict(), TaskCurriculum(TASKS, LEARNING)
        resumed.load_state_dict(state)
        assert whole.choose([""] * groups, 0) == resumed.choose([""] * groups, 0)
        assert whole.observe(rollouts(task, kinds)) == resumed.observe(rollouts(task, kinds))


@given(batches=BATCHES)
def test_no_results_starve_a_task(batches):
    curriculum = TaskCurriculum(TASKS, LEARNING)
    count = Counter()
    for task, kinds, _ in batches * 3:
        curriculum.observe(rollouts(task, kinds))
        count += dealt(curriculum, 5)
    for name in TASKS:
        assert count[name] >= 0.2 / 3 * 5 * len(batches) * 3 - 2


def test_tasks_that_a_resumed_run_no_longer_has_are_forgotten():
    curriculum = TaskCurriculum(TASKS, LEARNING)
    curriculum.observe(rollouts("easy", ["valid"] * 8))
    dealt(curriculum, 5)
    fewer = {name: task for name, task in TASKS.items() if task.id != "easy"}
    resumed = TaskCurriculum(fewer, LEARNING)
    resumed.load_state_dict(curriculum.state_dict())
    assert dealt(resumed, 10).keys() == fewer.keys()
