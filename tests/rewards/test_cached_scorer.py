"""A program is run once, whoever asks for it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.support.sandbox_doubles import Scripted, execution
from tests.support.tasks import toy_task
from trl_mle.errors import SandboxError
from trl_mle.outcomes import stored
from trl_mle.rewards import ProgramScorer
from trl_mle.rewards.cached_scorer import CachedScorer
from trl_mle.types import Program


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return toy_task(tmp_path_factory.mktemp("task"))


def submission(task):
    return (task.public_dir / "sample_submission.csv").read_bytes()


async def scored(path, sandbox, requests):
    """Outcomes of (code, task) pairs that are asked for at the same time, and the scorer."""
    scorer = CachedScorer(ProgramScorer(sandbox), path)
    async with scorer:
        outcomes = await asyncio.gather(*(scorer.score(Program("a plan", code), task) for code, task in requests))
    scorer.close_file()
    return outcomes, scorer


def test_a_program_runs_once_and_has_its_outcome_in_later_runs_too(task, tmp_path):
    path = tmp_path / "deep/file.sqlite"
    sandbox = Scripted(execution(submission=submission(task), stdout="hello", wall_s=1.25))
    outcomes, scorer = asyncio.run(scored(path, sandbox, [("x = 1", task)] * 5 + [("x = 2", task)]))
    assert sandbox.calls == 2
    assert (scorer.runs, scorer.hits) == (2, 0)
    again, scorer = asyncio.run(scored(path, Scripted(SandboxError("must not be asked")), [("x = 1", task)]))
    assert (scorer.runs, scorer.hits) == (0, 1)
    assert again[0] == outcomes[0] == stored(outcomes[0])
    assert again[0].kind == "valid" and again[0].duration_s == 1.25
    assert again[0].program.plan == "a plan"


def test_other_limits_and_another_task_are_other_programs(task, tmp_path):
    sandbox = Scripted(execution())
    path = tmp_path / "file.sqlite"
    other = replace(task, time_limit_s=3.0)
    asyncio.run(scored(path, sandbox, [("x = 1", task), ("x = 1", other)]))
    assert sandbox.calls == 2
    changed = toy_task(tmp_path / "changed", rows=91)
    assert changed.id == task.id
    asyncio.run(scored(path, sandbox, [("x = 1", changed)]))
    assert sandbox.calls == 3


def test_faults_are_not_kept(task, tmp_path):
    path = tmp_path / "file.sqlite"
    (fault, *_), _ = asyncio.run(
        scored(path, Scripted(SandboxError("gone", may_have_started=True)), [("x = 1", task)] * 2)
    )
    assert fault.kind == "fault"
    (outcome,), _ = asyncio.run(scored(path, Scripted(execution()), [("x = 1", task)]))
    assert outcome.kind == "failure"
