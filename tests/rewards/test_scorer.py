"""ProgramScorer: an outcome without TRL and without a trainer; faults as outcomes, or as exceptions."""

from __future__ import annotations

import asyncio

import pytest

from tests.rewards.test_mle_reward import GOOD, answer
from tests.support.sandbox_doubles import Scripted, execution
from tests.support.tasks import toy_task
from trl_mle import LocalSandbox, Program, ProgramScorer, RewardConfig
from trl_mle.errors import ConfigError, GradingError, SandboxError, SandboxUnavailableError, TaskError
from trl_mle.instrumentation.no_instrumenter import NoInstrumenter
from trl_mle.sandboxes import Sandbox
from trl_mle.types import MILESTONES


async def test_text_messages_and_programs_are_scored_alike(tmp_path):
    task = toy_task(tmp_path)
    messages = answer(GOOD)
    async with ProgramScorer(LocalSandbox(workers=1)) as scorer:
        outcomes = await asyncio.gather(
            scorer.score(messages, task),
            scorer.score(messages[0]["content"], task),
            scorer.score(Program("", GOOD), task),
            scorer.score("I cannot do this.", task),
        )
    assert [outcome.kind for outcome in outcomes] == ["valid", "valid", "valid", "failure"]
    assert len({outcome.reward for outcome in outcomes[:3]}) == 1
    assert all(outcome.execution.milestones == tuple(MILESTONES) for outcome in outcomes[:3])
    assert (outcomes[3].extraction_reason, outcomes[3].duration_s) == ("no_code_block", None)


async def test_without_instrumentation_a_program_runs_as_it_is(tmp_path):
    ran = []

    class Recording(Scripted):
        async def run(self, code, task, limits=None, *, source=None, group=None, files=None):
            ran.append((code, source))
            return await super().run(code, task, limits)

    async with ProgramScorer(Recording(execution()), NoInstrumenter()) as scorer:
        outcome = await scorer.score(Program("", GOOD), toy_task(tmp_path))
    assert ran == [(GOOD, GOOD)]
    assert outcome.execution.milestones == ()
    assert outcome.instrumented.fallback_reason is None


async def test_a_fault_is_an_outcome_or_an_exception(tmp_path):
    task, program = toy_task(tmp_path), Program("", "print(1)")
    async with ProgramScorer(Scripted(SandboxError("worker lost"))) as scorer:
        outcome = await scorer.score(program, task)
        assert (outcome.kind, outcome.reward, outcome.fault) == ("fault", None, "SandboxError: worker lost")
        with pytest.raises(SandboxError, match="worker lost"):
            await scorer.score_program(program, task)


@pytest.mark.parametrize("fails", [1, 2])
async def test_a_private_grade_that_fails_takes_no_reward_away(tmp_path, fails):
    task, left = toy_task(tmp_path), [GradingError("the evaluator ran out of time")] * fails

    def grade(submission, split="public"):
        if split == "private" and left:
            raise left.pop()
        return type(task).grade(task, submission, split)

    object.__setattr__(task, "grade", grade)
    good = (task.public_dir / "sample_submission.csv").read_bytes()
    async with ProgramScorer(Scripted(execution(submission=good))) as scorer:
        outcome = await scorer.score(Program("", GOOD), task)
    assert outcome.kind == "valid" and outcome.reward is not None
    assert (outcome.private is None) == (fails == 2)


async def test_a_sandbox_that_cannot_work_here_is_an_exception(tmp_path):
    async with ProgramScorer(Scripted(SandboxUnavailableError("no Landlock"))) as scorer:
        with pytest.raises(SandboxUnavailableError, match="no Landlock"):
            await scorer.score(Program("", "print(1)"), toy_task(tmp_path))


async def test_a_name_in_place_of_a_task_is_named():
    scorer = ProgramScorer(Scripted(execution()))
    for score in (scorer.score, scorer.score_program):
        with pytest.raises(TaskError, match=r"write `load_task\('builtin:diabetes'\)`"):
            await score(Program("", "print(1)"), "builtin:diabetes")


async def test_closing_closes_sandbox_and_instrumenter():
    closed = []

    class Sandbox(Scripted):
        async def __aexit__(self, *exc_info):
            closed.append("sandbox")

    class Instrumenter(NoInstrumenter):
        async def aclose(self):
            closed.append("instrumenter")

    async with ProgramScorer(Sandbox(), Instrumenter()):
        pass
    assert closed == ["sandbox", "instrumenter"]


class OnlyRuns:
    """A sandbox as users wrote it before the protocol was complete."""

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc_info):
        return None

    async def run(self, code, task, limits=None):
        self.limits = limits
        return execution()


async def test_a_sandbox_with_run_alone_is_enough(tmp_path):
    sandbox = OnlyRuns()
    async with ProgramScorer(sandbox) as scorer:
        task = toy_task(tmp_path)
        outcome = await scorer.score("```python\nprint(1)\n```", task)
        assert (outcome.kind, sandbox.limits.wall_s) == ("failure", task.time_limit_s)
        assert scorer.sandbox.workers == 64
        assert scorer.take_metrics()["sandbox/status/ok"] == 1


class SetsItsWorkers(OnlyRuns, Sandbox):
    def __init__(self):
        self.workers = 3


class InheritsAll(OnlyRuns, Sandbox):
    """The defaults of the protocol, and a `run` without `source`, `group` and `files`."""


@pytest.mark.parametrize(("sandbox_class", "workers"), [(SetsItsWorkers, 3), (InheritsAll, 64)])
async def test_a_sandbox_that_names_the_protocol_inherits_its_defaults(tmp_path, sandbox_class, workers):
    async with ProgramScorer(sandbox_class()) as scorer:
        assert scorer.sandbox.workers == workers
        outcome = await scorer.score("```python\nprint(1)\n```", toy_task(tmp_path))
        assert outcome.kind == "failure"


@pytest.mark.parametrize(
    "limits", [{"wall_s": 0}, {"wall_s": float("nan")}, {"wall_s": -1.0}, {"memory_bytes": 0}, {"memory_bytes": -1}]
)
def test_limits_that_cannot_hold_are_refused_where_they_are_given(limits):
    with pytest.raises(ConfigError, match=next(iter(limits))):
        ProgramScorer(OnlyRuns(), **limits)


def test_what_cannot_run_programs_is_no_sandbox():
    with pytest.raises(ConfigError, match="`sandbox` is 5, which has no"):
        ProgramScorer(5)


def test_early_exit_is_a_setting_of_the_reward(tmp_path):
    task = toy_task(tmp_path)
    assert ProgramScorer(Scripted()).limits_for(task).early_exit == 0
    assert ProgramScorer(Scripted(), reward=RewardConfig(early_exit=3)).limits_for(task).early_exit == 3
    for value in (0.5, -1, float("nan"), True):
        with pytest.raises(ConfigError, match="`program_early_exit` is"):
            RewardConfig(early_exit=value)
