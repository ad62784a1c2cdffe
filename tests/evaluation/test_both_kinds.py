"""At test time both kinds of prompts are run: chosen by the public score, told by the private one."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.improvement_runs import outcome_of
from tests.support.tasks import toy_task
from tests.support.tiny import tiny_model, tiny_tokenizer
from trl_mle import ExperienceStore, LocalSandbox, ProgramScorer
from trl_mle.errors import ConfigError
from trl_mle.evaluation.both_kinds import BothKinds, best_of, both_kinds, local_policy
from trl_mle.language_models.backends import Answer
from trl_mle.prompts import PromptBudget, build_prompt
from trl_mle.types import Grade, Outcome


class Scorer:
    """Gives each completion the outcome that follows from its text."""

    async def score(self, text, task):
        return outcome_of(text, task.id, private=len(text))


class Counting:
    """A backend that answers with the number of the request, and keeps the prompts."""

    def __init__(self):
        self.prompts = []

    async def complete(self, messages):
        self.prompts.append(messages)
        text = f"completion {len(self.prompts)}"
        await asyncio.sleep(0)
        return Answer(text, False)


@pytest.fixture
def task(tmp_path):
    return toy_task(tmp_path)


def graded(kind, public, private):
    parts = {"score": public} if kind == "valid" else {}
    return Outcome(
        "toy", kind, public, 1.0, reward_parts=parts, public=Grade(public, True), private=Grade(private, True)
    )


def test_the_choice_is_by_the_public_score_and_the_private_one_is_told():
    scratch = (graded("valid", 0.5, 0.1), graded("valid", 0.4, 0.9), graded("failure", -9.0, 1.0))
    found = BothKinds(scratch, (graded("valid", 0.6, 0.2),), scratch[0])
    assert found.private_scores() == {"scratch": 0.1, "improve": 0.2, "both": 0.2}
    assert BothKinds(scratch, (), None).private_scores() == {"scratch": 0.1, "improve": None, "both": 0.1}
    assert best_of([graded("failure", -9.0, 1.0), graded("timeout", -10.0, 1.0)]) is None


async def test_without_a_store_the_best_from_scratch_is_improved(task):
    policy = Counting()
    found = await both_kinds(policy, task, Scorer(), n=6)
    assert len(found.scratch) == len(found.improve) == 6
    assert found.parent == best_of(found.scratch)
    assert policy.prompts[:6] == [build_prompt(task)] * 6
    assert policy.prompts[6:] == [build_prompt(task, found.parent)] * 6


async def test_the_best_of_a_store_is_improved(task, tmp_path):
    with ExperienceStore(tmp_path / "store.sqlite") as store:
        for text in ("a", "b", "c"):
            store.add(outcome_of(text))
        found = await both_kinds(lambda prompt: "always the same", task, Scorer(), n=2, store=store)
        assert found.parent == store.best("toy")[0].outcome


async def test_without_anything_valid_or_short_enough_there_is_nothing_to_improve(task):
    class Failing(Scorer):
        async def score(self, text, task):
            return Outcome("toy", "failure", -10.0, 1.0)

    assert (await both_kinds(lambda prompt: "", task, Failing(), n=2)).improve == ()
    words = PromptBudget(len(str(build_prompt(task))) + 10, lambda messages: len(str(messages)))
    found = await both_kinds(Counting(), task, Scorer(), n=6, budget=words)
    assert (found.improve, found.parent) == ((), None) and best_of(found.scratch) is not None


@pytest.mark.parametrize("n", [0, True, 1.5])
async def test_an_impossible_number_is_named(task, n):
    with pytest.raises(ConfigError, match="`n` is"):
        await both_kinds(Counting(), task, Scorer(), n=n)


@pytest.mark.slow
async def test_a_model_on_disk_in_a_real_sandbox(task, tmp_path):
    """A tiny random policy: whatever it writes is scored, and nothing of it is valid."""
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m.content[-40:] }}\n{% endfor %}"
    tokenizer.save_pretrained(tmp_path / "policy")
    tiny_model().save_pretrained(tmp_path / "policy")
    policy = local_policy(str(tmp_path / "policy"), 8)
    async with ProgramScorer(LocalSandbox(workers=1)) as scorer:
        found = await both_kinds(policy, task, scorer, n=4)
    assert [outcome.kind for outcome in found.scratch] == ["failure"] * 4
    texts = [(await policy.complete([{"role": "user", "content": "x"}])).text for _ in range(8)]
    assert len(set(texts)) > 1, "it samples"
