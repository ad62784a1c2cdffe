"""An agent in the real trainers, with programs in the real sandbox: every kind of rollout ends as it should."""

from __future__ import annotations

import json

import pytest
from trl import GRPOConfig, GRPOTrainer

from tests.rewards.test_mle_reward import GOOD
from tests.support.agents import call, run_program, scripted_model, short_prompts
from tests.support.drop_in_tools import tokenizer
from tests.support.metrics_page import logged, undocumented
from tests.support.sandbox_doubles import Scripted, execution
from tests.support.tasks import toy_task
from tests.support.tiny import tiny_args
from tests.support.turn_reference import return_advantages
from trl_mle import DurationAwareConfig, DurationAwareTrainer, EpisodeBudget, LocalSandbox, MLESpec
from trl_mle.environments import read_turns
from trl_mle.errors import ConfigError, SandboxError
from trl_mle.outcomes import Column, RunColumn, from_row, read_rollouts
from trl_mle.types import MILESTONES

LOADS = 'import pandas as pd\ntrain = pd.read_csv("input/train.csv")\ntrain["nothing"]'
MEAN = GOOD.replace("model.predict(test[[", "0 * model.predict(test[[")
LEAVES = 'open("note.txt", "w").write("kept")\n'
SEES = 'import os\nprint(sorted(os.listdir(".")), open("note.txt").read())\n'
SCRIPTS = [
    [run_program(LOADS), run_program(GOOD), call("submit")],
    [run_program(GOOD + LEAVES), run_program(SEES + MEAN)],
    ["I cannot do this."],
    [call("run_program", program=GOOD), call("shell", command="ls"), call("submit")],
]


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    task = toy_task(tmp_path_factory.mktemp("task"))
    made = MLESpec(
        {"toy": task}, budget=EpisodeBudget(runs=2, observation_characters=700), sandbox=LocalSandbox(workers=2)
    )
    yield made
    made.close()


def train(trainer_class, args, spec, scripts=SCRIPTS, reward_funcs=None):
    trainer = trainer_class(
        model=scripted_model(scripts),
        processing_class=tokenizer(),
        args=args,
        train_dataset=short_prompts("toy"),
        environment_factory=spec.environment_factory,
        reward_funcs=reward_funcs or spec.reward_funcs,
    )
    trainer.train()
    return trainer


@pytest.fixture(scope="module")
def run(spec, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    trainer = train(DurationAwareTrainer, agent_args(folder), spec)
    return trainer, read_rollouts(folder)


def agent_args(folder, config_class=DurationAwareConfig, **changes):
    return tiny_args(
        folder,
        config_class,
        per_device_train_batch_size=4,
        max_steps=1,
        max_completion_length=6000,
        log_completions=False,
        **changes,
    )


def test_the_page_of_metrics_describes_all_that_was_logged(run):
    trainer, _ = run
    names = logged(trainer)
    assert "episodes/programs" in names
    assert undocumented(names) == set()


def test_rewards_of_each_kind_of_rollout(run):
    _, rollouts = run
    assert list(rollouts["kind"]) == ["valid", "valid", "failure", "failure"]
    rewards = list(rollouts["mle_reward"])
    good, mean = rewards[0], rewards[1]
    assert -1 <= mean < good <= 1, "the last valid submission counts, not the best one"
    assert rewards[2:] == pytest.approx([-10.0, -10.0])
    assert list(rollouts["extraction_reason"])[2:] == ["no_tool_call", "no_tool_call"]
    assert list(rollouts["programs_run"]) == [2, 2, 0, 0]
    assert list(rollouts["submitted"]) == [True, False, False, False]


def test_every_message_has_its_seconds_and_its_part_of_the_reward(run):
    _, rollouts = run
    seconds = [list(row) for row in rollouts["per_action_durations"]]
    assert [[value is not None and value == value for value in row] for row in seconds] == [
        [True, True, False, False],
        [True, True, False],
        [False],
        [False, False, False, False],
    ]
    for total, row in zip(rollouts["action_duration"], seconds, strict=True):
        ran = [value for value in row if value is not None and value == value]
        assert sum(ran) == pytest.approx(total) if ran else total != total or total is None
    rewards = [list(row) for row in rollouts["per_action_rewards"]]
    assert rewards[0] == pytest.approx([0.2, rollouts["mle_reward"][0] + 9.8, 0, 0])
    for row, reward in zip(rewards, rollouts["mle_reward"], strict=True):
        assert sum(row) == pytest.approx(reward + 10)


def test_turns_are_kept(run):
    _, rollouts = run
    turns = [read_turns(text) for text in rollouts["turns"]]
    assert [[(turn["tool"], turn["kind"], turn["action"]) for turn in row] for row in turns] == [
        [("run_program", "failure", 0), ("run_program", "valid", 1), ("submit", None, 2)],
        [("run_program", "valid", 0), ("run_program", "valid", 1)],
        [],
        [("submit", None, 2)],
    ]
    failed, repaired, _ = turns[0]
    assert failed["milestones"] == ["imported_libraries", "loaded_data"]
    assert "KeyError: 'nothing'" in failed["observation"]
    assert repaired["milestones"] == list(MILESTONES)
    assert repaired["code"].strip() == GOOD.strip()
    assert str(repaired["public_score"])[:6] not in repaired["observation"], "the score on the answers is not told"
    assert "valid submission" in repaired["observation"]
    row = rollouts.iloc[0].to_dict()
    assert from_row(row).program.code.strip() == GOOD.strip()
    assert "nonce" not in json.dumps(turns)


def test_files_are_there_for_the_next_program(run):
    _, rollouts = run
    first, second = read_turns(rollouts["turns"][1])
    assert "Files for the next program: note.txt." in first["observation"]
    assert "'note.txt', 'tmp'] kept" in second["stdout"]
    assert "submission.csv" not in second["stdout"]


def test_metrics_and_weights(run):
    trainer, _ = run
    (logged,) = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert logged["episodes/programs"] == pytest.approx(1.0)
    assert logged["episodes/no_tool_call_share"] == pytest.approx(0.25)
    assert logged["programs/valid_share"] == pytest.approx(0.5)
    assert logged["tools/failure_frequency"] > 0
    assert "rewards/mle_reward/mean" in logged
    assert not [name for name in logged if "Environment" in name], "the environment is no second source of reward"


class ByCode(Scripted):
    """Ends as the first word of a program says."""

    def __init__(self, **ends):
        super().__init__()
        self.ends = ends

    async def run(self, code, task, limits=None, *, source=None, group=None, files=None):
        end = self.ends[source.split()[0]]
        if isinstance(end, Exception):
            raise end
        return end


ENDS = [
    [run_program("good"), run_program("bad")],
    [run_program("good"), run_program("gone"), run_program("good"), call("submit")],
    [run_program("bad"), run_program("slow")],
    [call("run_program", code=["good"]), call("run_program", code="x" * 1000 + "\0"), call("submit")],
]


@pytest.mark.parametrize(("in_parts", "pace"), [(False, "together"), (True, "independent")])
def test_faults_and_time_outs_of_a_batch(tmp_path, in_parts, pace):
    task = toy_task(tmp_path)
    sandbox = ByCode(
        good=execution(submission=task.sample_path.read_bytes(), wall_s=1.0),
        bad=execution("error", exit_code=1, wall_s=2.0),
        slow=execution("timeout", wall_s=20.0),
        gone=SandboxError("worker lost"),
    )
    spec = MLESpec({"toy": task}, budget=EpisodeBudget(observation_characters=500), sandbox=sandbox)
    changes = {"multi_objective_aggregation": "normalize_then_sum"} if in_parts else {}
    args = agent_args(tmp_path / "run", tool_rollouts=pace, **changes)
    trainer = train(DurationAwareTrainer, args, spec, ENDS, spec.reward.parts() if in_parts else None)
    spec.close()
    rollouts = read_rollouts(tmp_path / "run")
    assert list(rollouts["kind"]) == ["valid", "fault", "timeout", "failure"]
    assert rollouts["advantage"][1] == 0, "a fault is no part of the group"
    assert rollouts[Column.REWARD].isna().tolist() == [False, True, False, False]
    assert list(rollouts["action_censored"]) == [False, False, True, False]
    assert rollouts["action_duration"].tolist()[:3] == [3.0, 1.0, 22.0]
    assert "worker lost" in rollouts["fault"][1]
    assert list(rollouts["extraction_reason"])[3] == "undecodable"
    assert [len(row) for row in rollouts["per_action_durations"]] == [3, 5, 3, 4]
    gone = read_turns(rollouts["turns"][1])
    assert [turn["refused"] for turn in gone] == [None, None, "fault", "fault"]
    (logged,) = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert logged["programs/fault_share"] == 0.25


def test_each_message_has_the_advantage_of_what_came_after_it(tmp_path):
    task = toy_task(tmp_path)
    sandbox = ByCode(
        good=execution(submission=task.sample_path.read_bytes(), wall_s=1.0),
        bad=execution("error", exit_code=1, wall_s=2.0),
        gone=SandboxError("worker lost"),
    )
    spec = MLESpec({"toy": task}, budget=EpisodeBudget(observation_characters=500), sandbox=sandbox)
    scripts = [
        [run_program("bad"), run_program("good")],
        [run_program("good"), run_program("gone")],
        [run_program("bad")],
        ["Nothing."],
    ]
    train(DurationAwareTrainer, agent_args(tmp_path / "run", turn_credit="return"), spec, scripts)
    spec.close()
    rollouts = read_rollouts(tmp_path / "run")
    rewards = [None if reward != reward else reward for reward in rollouts[Column.REWARD]]
    assert rewards[1] is None and rewards[0] > rewards[2]
    earned = [list(row) for row in rollouts[RunColumn.PER_ACTION_REWARDS]]
    expected = return_advantages(rewards, earned, 4, "group", 1.0)
    found = [list(row) for row in rollouts[RunColumn.PER_ACTION_ADVANTAGES]]
    assert found == [pytest.approx(row, abs=1e-5) for row in expected]
    assert found[1] == [0.0] * 3, "a fault pushes no message"
    assert found[0][1] > 0 and found[0][2] == pytest.approx(0.0, abs=1e-5), (
        "the repair is pushed, and not the words after it"
    )


def test_the_clock_of_the_trainer_is_that_of_the_reward(tmp_path):
    spec = MLESpec({"toy": toy_task(tmp_path)}, sandbox=Scripted(execution()), duration_clock="cpu")
    for functions in (spec.reward_funcs, spec.reward.parts()):
        with pytest.raises(ConfigError, match="duration_clock='wall'"):
            train(DurationAwareTrainer, agent_args(tmp_path), spec, reward_funcs=functions)


def test_plain_trl_trains_too(tmp_path):
    spec = MLESpec(
        {"toy": toy_task(tmp_path)},
        budget=EpisodeBudget(runs=2, observation_characters=500),
        sandbox=Scripted(execution()),
    )
    trainer = train(GRPOTrainer, agent_args(tmp_path, GRPOConfig), spec)
    (logged,) = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert logged["episodes/programs"] == pytest.approx(1.0)
    assert len(trainer.reward_funcs) == 1
    spec.close()
