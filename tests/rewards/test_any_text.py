"""Whatever a policy writes, its score is a number within the limit: no exception, no `None`, no endless analysis."""

from __future__ import annotations

import asyncio
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.generated_completions import random_completion
from tests.support.hostile_texts import COMPLETIONS, FENCE, PROGRAMS
from tests.support.sandbox_doubles import Scripted, execution
from tests.support.tasks import toy_task
from trl_mle.instrumentation import ASTInstrumenter, LLMInstrumenter, fallbacks, new_nonce
from trl_mle.instrumentation.analysis import budget
from trl_mle.rewards.scorer import ProgramScorer
from trl_mle.types import InstrumentedProgram, Program


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return toy_task(tmp_path_factory.mktemp("task"))


def score(text, task, instrumenter=None):
    async def scored():
        scorer = ProgramScorer(Scripted(execution("error", exit_code=1)), instrumenter)
        async with scorer:
            return await scorer.score(text, task)

    return asyncio.run(scored())


def assert_is_failure(outcome):
    assert outcome.kind == "failure"
    assert outcome.fault is None
    assert math.isfinite(outcome.reward)
    assert outcome.instrumented is None or outcome.instrumented.fallback_kind != fallbacks.FAILED


COMPLETION = st.integers().map(lambda seed: random_completion(random.Random(seed), longest=5000))


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=200) | COMPLETION)
def test_any_text_has_a_finite_reward(task, text):
    assert_is_failure(score(text, task))


@pytest.mark.parametrize("size", [1, 40])
@pytest.mark.parametrize("name", PROGRAMS)
def test_hostile_programs_have_a_finite_reward(task, name, size):
    assert_is_failure(score(f"Plan.\n{FENCE}python\n{PROGRAMS[name](size)}\n{FENCE}\n", task))


@pytest.mark.parametrize("size", [1, 300])
@pytest.mark.parametrize("name", COMPLETIONS)
def test_hostile_completions_have_a_finite_reward(task, name, size):
    assert_is_failure(score(COMPLETIONS[name](size), task))


def test_a_program_beyond_the_budget_runs_as_it_is(task, monkeypatch):
    monkeypatch.setattr(budget.budget.__wrapped__, "__defaults__", (50, 20.0))
    outcome = score(f"{FENCE}python\nimport pandas as pd\n{PROGRAMS['fits'](9)}\n{FENCE}", task)
    assert_is_failure(outcome)
    assert outcome.instrumented.fallback_kind == fallbacks.TOO_COMPLEX
    assert outcome.instrumented.code == outcome.program.code


@pytest.mark.parametrize("name, size", [("long class name", 60), ("long answers", 40), ("constants", 1500)])
def test_steps_that_grow_with_the_text_are_counted(name, size):
    instrumented = ASTInstrumenter().instrument(Program("", PROGRAMS[name](size)), new_nonce())
    assert instrumented.fallback_kind == fallbacks.TOO_COMPLEX


@pytest.mark.parametrize(
    "error", [OverflowError("int too large"), RecursionError(), MemoryError(), AttributeError("bug")]
)
def test_an_instrumenter_that_raises_costs_the_marks_and_not_the_penalty(task, error):
    class Broken:
        def instrument(self, program, nonce):
            raise error

    outcome = score(f"{FENCE}python\nx = 1\n{FENCE}", task, Broken())
    assert outcome.kind == "failure"
    assert outcome.instrumented.fallback_kind == fallbacks.FAILED
    assert type(error).__name__ in outcome.instrumented.fallback_reason


async def test_an_instrumenter_that_never_ends_costs_the_marks(task):
    class Endless:
        async def instrument(self, program, nonce):
            await asyncio.Event().wait()

    scorer = ProgramScorer(Scripted(execution("error", exit_code=1)), Endless())
    scorer._instrumentation_s = 0.05
    async with scorer:
        outcome = await scorer.score(Program("", "x = 1"), task)
    assert outcome.instrumented.fallback_kind == fallbacks.FAILED


async def test_an_instrumenter_may_wait_as_long_as_it_says(task):
    class Patient:
        wait_s = 10.0

        async def instrument(self, program, nonce):
            await asyncio.sleep(0.05)
            return InstrumentedProgram(program.code, program, nonce)

    scorer = ProgramScorer(Scripted(execution("error", exit_code=1)), Patient())
    scorer._instrumentation_s = 0.01
    async with scorer:
        outcome = await scorer.score(Program("", "x = 1"), task)
    assert outcome.instrumented.fallback_kind is None
    assert LLMInstrumenter(endpoint="http://127.0.0.1:1/v1", cache_dir="none", wait_s=600.0).wait_s == 600.0


def test_steps_bound_the_work_and_nothing_is_counted_outside():
    budget.spend(10**9)
    with budget.budget(steps=3), pytest.raises(budget.BudgetExceededError):
        for _ in range(4):
            budget.spend()
    with budget.budget(seconds=-1.0), pytest.raises(budget.BudgetExceededError, match="too long"):
        budget.spend(1 << 13)
