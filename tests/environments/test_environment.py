"""`MLEEnvironment`: budgets, which submission counts, and that every fault and nonsense ends in a turn or a class of fault."""

from __future__ import annotations

import asyncio
import pickle
from dataclasses import replace

import pytest
from transformers.utils import get_json_schema

from tests.support.hang import HANG_S
from tests.support.sandbox_doubles import Scripted, execution
from tests.support.tasks import toy_task
from trl_mle import EpisodeBudget, LocalSandbox, MLEEnvironment, MLESpec, RewardConfig
from trl_mle.environments.actions import action_rewards, actions_of
from trl_mle.environments.episode_reward import EpisodeReward
from trl_mle.errors import ConfigError, GradingError, SandboxError, SandboxUnavailableError, TaskError

PRINTS = "print(1)"
NONSENSE = [None, 5, {"code": PRINTS}, [PRINTS], "", "  \n", "a\0b", "\ud800", "x" * 1_000_000]
"""Arguments that hold no program."""


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return toy_task(tmp_path_factory.mktemp("task"))


@pytest.fixture(scope="module")
def good(task):
    return execution(submission=task.sample_path.read_bytes())


def environment(task, *answers, runs=3, **settings):
    """An environment that has been reset, whose programs have given ends, and its sandbox."""
    seconds = settings.pop("seconds", None)
    sandbox = answers[0] if answers and isinstance(answers[0], Scripted) else Scripted(*answers or [execution()])
    spec = MLESpec({"toy": task}, budget=EpisodeBudget(runs=runs, seconds=seconds), sandbox=sandbox, **settings)
    made = spec.environment_factory()
    made.reset(task="toy", prompt=[])
    return made, sandbox


async def test_the_last_valid_submission_counts(task, good):
    worse = replace(good, submission=good.submission.replace(b",0.0", b",9.0"))
    agent, _ = environment(task, good, worse, execution("error", exit_code=1))
    values = []
    for _ in range(3):
        await agent.run_program(PRINTS)
        values.append(agent.get_reward())
    assert values[0] > values[1] == values[2] >= -1, (
        "a later failure takes nothing away, and a worse submission replaces"
    )
    assert "The task has ended" in await agent.submit()
    assert agent.episode.submitted
    assert agent.get_reward() == values[1]
    assert "Nothing was run" in await agent.run_program(PRINTS)
    assert agent.episode.turns[-1].refused == "submitted"


async def test_without_a_valid_submission_the_best_failure_counts(task):
    agent, _ = environment(task, execution("timeout"), execution("error", exit_code=1))
    await agent.run_program("import pandas")
    await agent.run_program(PRINTS)
    assert agent.episode.outcome.kind == "failure"
    assert agent.get_reward() == -10
    assert "nothing to submit" in await agent.submit()
    assert not agent.episode.submitted
    assert await agent.run_program(PRINTS), "a submission without any is no end"
    assert len(agent.episode.programs) == 3


async def test_the_budget_of_runs(task, good):
    agent, sandbox = environment(task, good, runs=2)
    texts = [await agent.run_program(PRINTS) for _ in range(4)]
    assert sandbox.calls == 2
    assert "Left: 1 program and 38.0 s" in texts[0]
    assert "No program is left" in texts[2]
    assert [turn.refused for turn in agent.episode.turns] == [None, None, "runs", "runs"]
    assert "The task has ended" in await agent.submit()


async def test_the_budget_of_seconds_is_the_limit_of_the_last_program(task):
    agent, sandbox = environment(task, execution(wall_s=15.0), execution("timeout", wall_s=10.5), seconds=25.0, runs=9)
    texts = [await agent.run_program(PRINTS) for _ in range(3)]
    assert [limits.wall_s for limits in sandbox.limits] == [20.0, 10.0]
    assert "No time is left" in texts[2]
    assert agent.episode.turns[1].is_censored
    assert agent.episode.seconds == 25.5


async def test_files_go_from_one_program_to_the_next(task, good):
    seen = []

    class Files(Scripted):
        async def run(self, code, task, limits=None, *, source=None, group=None, files=None):
            seen.append((dict(files or {}), limits.keep_bytes))
            return replace(await super().run(code, task, limits), files={code: b"x"}, files_cut=len(seen))

    agent, _ = environment(task, Files(good))
    texts = [await agent.run_program(code) for code in ("a", None, "b")]
    assert seen == [({}, 8 * 1024**2), ({"a": b"x"}, 8 * 1024**2)]
    assert "Files for the next program: a. 1 could not be kept." in texts[0]
    assert "next program" not in texts[2], "there is none"
    assert not [turn for turn in agent.episode.turns if turn.outcome and turn.outcome.execution.files]
    assert agent.episode.outcome.execution.submission == good.submission
    assert not agent.episode.outcome.execution.files, "files are needed once, by the next program"
    agent.reset(task="toy")
    await agent.run_program("c")
    assert seen[-1][0] == {}, "nothing goes from one rollout to another"


@pytest.mark.parametrize("end", ["runs", "submitted", "fault"])
async def test_no_files_are_kept_after_the_last_program(task, good, end):
    left = replace(good, files={"a": b"x"})
    last = SandboxError("gone", may_have_started=True) if end == "fault" else left
    agent, _ = environment(task, left, last, runs=2)
    text = await agent.run_program(PRINTS)
    assert "Files for the next program: a." in text
    text = await (agent.submit() if end == "submitted" else agent.run_program(PRINTS))
    assert agent.episode.over == end
    assert "next program" not in text
    assert not agent._current().files


@pytest.mark.parametrize("code", NONSENSE, ids=lambda code: repr(code)[:12])
async def test_nonsense_costs_a_run_and_pays_nothing(task, code):
    agent, sandbox = environment(task, runs=2)
    text = await agent.run_program(code)
    assert "Nothing was run" in text
    assert len(text) < 500
    assert (sandbox.calls, agent.get_reward()) == (0, -10)
    assert agent.episode.outcome.extraction_reason == agent.episode.turns[0].refused
    await agent.run_program(code)
    assert "No program is left" in await agent.run_program(PRINTS)


async def test_a_fenced_program_is_taken_out(task):
    agent, _ = environment(task)
    for code in (
        f"Here it is:\n```python\n{PRINTS}\n```\nDone.",
        f'x = """\n```\n"""\n{PRINTS}',
        "not Python at all ```",
    ):
        await agent.run_program(code)
    codes = [outcome.program.code for outcome in agent.episode.programs]
    assert codes == [PRINTS + "\n", f'x = """\n```\n"""\n{PRINTS}', "not Python at all ```"]


@pytest.mark.parametrize("before", ["valid", "failure"])
async def test_a_fault_ends_the_episode_without_a_reward(task, good, before):
    agent, sandbox = environment(
        task, good if before == "valid" else execution(), SandboxError("gone", may_have_started=True)
    )
    await agent.run_program(PRINTS)
    assert "fault" in await agent.run_program(PRINTS)
    for _ in range(2):
        assert "fault" in await agent.run_program(PRINTS)
    assert "fault" in await agent.submit()
    assert sandbox.calls == 2
    assert agent.get_reward() is None
    assert agent.episode.fault == "SandboxError: gone"
    completion = [{"role": "assistant", "content": ""}]
    actions = actions_of(completion, agent.episode)
    assert action_rewards(actions, agent.episode) == [None]


async def test_an_error_of_the_grader_is_a_fault(task, good, monkeypatch):
    def broken(*arguments):
        raise ZeroDivisionError

    monkeypatch.setattr(type(task), "grade", broken)
    agent, _ = environment(task, good)
    await agent.run_program(PRINTS)
    assert agent.episode.outcome.kind == "fault"
    assert GradingError.__name__ in agent.episode.fault


async def test_a_sandbox_that_cannot_work_here_stops_training(task):
    agent, _ = environment(task, SandboxUnavailableError("no Landlock"))
    assert "no Landlock" not in await agent.run_program(PRINTS), "the policy reads nothing about the machine"
    reward = EpisodeReward(agent._reward)
    with pytest.raises(SandboxUnavailableError, match="no Landlock"):
        await reward([""], [[{"role": "assistant", "content": ""}]], environments=[agent])


async def test_two_calls_of_a_rollout_run_one_after_another(task):
    running = []

    class Watched(Scripted):
        async def run(self, code, task, limits=None, *, source=None, group=None, files=None):
            running.append(code)
            assert len(running) == 1
            await asyncio.sleep(0.01)
            running.remove(code)
            return await super().run(code, task, limits)

    agent, sandbox = environment(task, Watched(execution()), runs=3)
    async with asyncio.timeout(HANG_S):
        texts = await asyncio.gather(*(agent.run_program(f"print({n})") for n in range(4)), agent.submit())
    assert sandbox.calls == 3
    assert [turn.arguments.get("code") for turn in agent.episode.turns] == [*(f"print({n})" for n in range(4)), None]
    assert "No program is left" in texts[3]
    assert not running


async def test_a_call_of_an_earlier_rollout_changes_nothing_of_the_next_one(task, good):
    begun, go_on = asyncio.Event(), asyncio.Event()

    class Waiting(Scripted):
        async def run(self, code, task, limits=None, *, source=None, group=None, files=None):
            begun.set()
            await go_on.wait()
            return await super().run(code, task, limits)

    agent, _ = environment(task, Waiting(good))
    late = asyncio.create_task(agent.run_program(PRINTS))
    await begun.wait()
    agent.reset(task="toy", prompt=[])
    go_on.set()
    await late
    assert agent.episode.turns == ()
    assert agent.get_reward() == -10


async def test_a_cancelled_run_is_a_fault(task):
    class Endless(Scripted):
        async def run(self, code, task, limits=None, *, source=None, group=None, files=None):
            await asyncio.Event().wait()

    agent, _ = environment(task, Endless())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await agent.run_program(PRINTS)
    assert agent.episode.outcome.kind == "fault"
    assert agent.get_reward() is None


def test_what_a_row_must_have(task):
    agent, _ = environment(task)
    for row in ({}, {"task": None}, {"task": 3}):
        with pytest.raises(TaskError, match="column `task`"):
            agent.reset(**row)
    with pytest.raises(TaskError):
        agent.reset(task="builtin:nothing")
    with pytest.raises(ConfigError, match="call `reset"):
        _ = MLEEnvironment(agent._reward).episode


def test_what_the_policy_reads_of_the_tools(task):
    agent, _ = environment(task)
    functions = [get_json_schema(tool)["function"] for tool in (agent.run_program, agent.submit)]
    assert [function["name"] for function in functions] == ["run_program", "submit"]
    assert functions[0]["parameters"]["properties"]["code"] == {"type": "string", "description": "The whole program."}
    assert "submission.csv" in functions[0]["description"]
    assert functions[1]["parameters"]["properties"] == {}


def test_a_spec_travels_to_another_process(task):
    spec = MLESpec({"toy": task}, sandbox=LocalSandbox(workers=1))
    factory, (reward,) = pickle.loads(pickle.dumps((spec.environment_factory, spec.reward_funcs)))
    made = factory()
    made.reset(task="toy")
    assert made._scores_with(reward.reward)


@pytest.mark.parametrize(
    "settings",
    [
        {"runs": 0},
        {"runs": True},
        {"runs": 1.5},
        {"seconds": 0},
        {"seconds": float("nan")},
        {"observation_characters": 10},
    ],
)
def test_budgets_that_cannot_work(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        EpisodeBudget(**settings)


async def test_the_public_score_is_shown_if_asked_for(task, good):
    texts = []
    for show in (False, True):
        agent, _ = environment(task, good, show_public_score=show)
        texts.append(await agent.run_program(PRINTS))
    score = f"{agent.episode.outcome.public.score:.6g}"
    assert score not in texts[0]
    assert f"hidden answers: {score}" in texts[1]


async def test_the_environment_of_another_trainer_is_named(task):
    agent, _ = environment(task)
    with pytest.raises(ConfigError, match="Give the trainer `environment_factory="):
        await EpisodeReward(agent._reward)([""], [""], environments=None)
    other, _ = environment(task)
    for wrong in (other, object()):
        with pytest.raises(ConfigError, match="not its own"):
            await EpisodeReward(agent._reward)([""], [""], environments=[wrong])


def test_a_reward_of_other_numbers(task):
    agent, _ = environment(task, reward=RewardConfig(failure_reward=-5.0))
    assert agent.get_reward() == -5
