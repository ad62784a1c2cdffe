"""evaluate: which samples are drawn, what a kill leaves, whose fault what is, and what the table says."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.evaluations import ScorerDouble, SeededPolicy, evaluated
from tests.support.tasks import toy_task
from trl_mle.config import RewardConfig
from trl_mle.errors import ConfigError
from trl_mle.evaluation import EvaluationTiming, evaluate, read_table
from trl_mle.evaluation.sample_store import RESCORED, Place, SampleStore
from trl_mle.language_models.client import NoAnswerError
from trl_mle.language_models.sampling import Sample
from trl_mle.tasks import load_task
from trl_mle.types import Outcome

ROOT = Path(__file__).parents[2]


def killed(out, n, mode, statement):
    """Evaluates in a process of its own, which kills itself at a statement, if there are as many; returns its exit code."""
    command = [sys.executable, "-m", "tests.support.evaluations", str(out), str(n), mode, str(statement)]
    return subprocess.run(command, cwd=ROOT, capture_output=True).returncode


def test_the_table(tmp_path):
    table = evaluated(tmp_path / "out", 24)
    entry = table.entry("a", "toy")
    assert entry.n == 24
    assert entry.valid + entry.failures == 24
    assert sorted(entry.pass_at) == [1, 2, 4, 8, 16, 24]
    assert entry.pass_at[1].value == entry.valid_share.value == entry.valid / 24
    assert entry.pass_at[24].value == 1.0
    assert entry.best_at[24].value == entry.best.private_score
    assert entry.tokens == pytest.approx(7.0)
    assert entry.cost == pytest.approx(24 * 0.25)
    assert entry.reasons == {"error: ValueError": entry.failures}
    assert [row.policy for row in table.overall] == ["a", "b"]
    (difference,) = table.differences
    assert (difference.policy, difference.minus, difference.pairs) == ("b", "a", 24)
    assert difference.valid_share.value == pytest.approx(
        table.entry("b", "toy").valid_share.value - entry.valid_share.value
    )
    assert table.problems == {}
    written = json.loads(table.write(tmp_path).read_text())
    assert written["entries"][0]["pass_at"]["1"]["value"] == entry.valid / 24


def test_equal_numbers_have_equal_seeds_and_prompts_whatever_the_request_size(tmp_path):
    policies = [SeededPolicy("a"), SeededPolicy("b")]
    policies[1].samples_per_request = 5
    evaluate(dict(zip("ab", policies, strict=True)), toy_task(tmp_path), 7, scorer=ScorerDouble())
    seeds = [sorted(seed + index for _, n, seed in policy.asked for index in range(n)) for policy in policies]
    assert seeds[0] == seeds[1]
    assert policies[0].asked[0][0] == policies[1].asked[0][0]


def test_a_finished_evaluation_draws_and_scores_nothing_and_more_samples_continue_it(tmp_path):
    first = evaluated(tmp_path / "out", 8)
    policy, scorer = SeededPolicy("a"), ScorerDouble()
    assert evaluated(tmp_path / "out", 8, policy=policy, scorer=scorer) == first
    assert policy.asked == scorer.scored == []
    more = evaluated(tmp_path / "out", 10, policy=policy)
    assert sum(n for _, n, _ in policy.asked) == 2
    assert more == evaluated(tmp_path / "other" / "out", 10)


def test_killed_once_and_resumed(tmp_path):
    assert killed(tmp_path / "out", 8, "scratch", 60) == -9
    with SampleStore(tmp_path / "out", read_only=True) as store:
        assert 0 < len(store.records(Place("a", "toy", "scratch"))) <= 8
    assert evaluated(tmp_path / "out", 8) == evaluated(tmp_path / "whole" / "out", 8)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["scratch", "improve"])
def test_killed_five_times_and_resumed(tmp_path, mode):
    rng, ends = random.Random(0), []
    for _ in range(5):
        ends.append(killed(tmp_path / "out", 24, mode, rng.randint(5, 90)))
    assert ends.count(-9) >= 3
    assert evaluated(tmp_path / "out", 24, mode) == evaluated(tmp_path / "whole" / "out", 24, mode)


def test_half_of_the_samples_improve_the_best_of_the_others(tmp_path):
    table = evaluated(tmp_path / "out", 9, "improve")
    scratch, improve, both = (table.entry("a", "toy", kind) for kind in ("scratch", "improve", "both"))
    assert (scratch.n, improve.n, both.n) == (5, 4, 9)
    with SampleStore(tmp_path / "out", read_only=True) as store:
        prompt = store.prompt(Place("a", "toy", "improve"))
    assert scratch.best.program.splitlines()[0] in prompt[-1]["content"]
    assert both.best.public_score == min(scratch.best.public_score, improve.best.public_score)
    assert both.pass_at == {}


@pytest.mark.parametrize(("context", "improved"), [(100_000, 4), (4_096 + 400, 0)])
def test_a_program_that_does_not_fit_is_said_to_be_left_out(tmp_path, caplog, context, improved):
    class Counting(SeededPolicy):
        context_tokens = context

        def count_tokens(self, messages):
            return sum(len(message["content"]) for message in messages) // (4 if "arlier" in str(messages) else 400)

    table = evaluated(tmp_path / "out", 8, "improve", Counting("a"), max_tokens=4096)
    kinds = {entry.kind: entry.n for entry in table.entries if entry.policy == "a"}
    assert kinds.get("improve", 0) == improved
    assert ("toy: a has no samples that improve a program" in caplog.text) == (improved == 0)


def test_without_anything_valid_there_is_nothing_to_improve(tmp_path):
    class Failing(ScorerDouble):
        async def score(self, text, task, group=None):
            return Outcome("toy", "failure", -10.0, 1.0)

    table = evaluated(tmp_path / "out", 4, "improve", scorer=Failing())
    assert [(entry.kind, entry.n, entry.valid) for entry in table.entries if entry.policy == "a"] == [
        ("scratch", 2, 0)
    ]
    assert table.entries[0].samples_to_valid is None


def test_faults_are_tried_again_and_are_no_samples(tmp_path):
    scorer = ScorerDouble(0, 1, 2)
    table = evaluated(tmp_path / "out", 4, scorer=scorer, fault_retries=0)
    entry = table.entry("a", "toy")
    assert (entry.n, entry.faults) == (1, 3)
    assert "3 of 4 samples were lost" in table.problems["a on toy"]
    whole = evaluated(tmp_path / "whole" / "out", 4)
    assert evaluated(tmp_path / "out", 4) == whole
    assert evaluated(tmp_path / "retried" / "out", 4, scorer=ScorerDouble(0, 1, 2)) == whole


def test_a_task_whose_sandbox_always_fails_ends_with_a_statement(tmp_path):
    scorer = ScorerDouble("all")
    table = evaluated(tmp_path / "out", 100, scorer=scorer)
    # Those that wait for a sandbox at the same time are given up together: far from 3 tries for 100 samples of 2 policies.
    assert len(scorer.scored) < 300
    assert "12 times in a row; the last fault: SandboxError: gone" in table.problems["a on toy"]
    assert [entry.n for entry in table.entries] == [0, 0]
    assert evaluated(tmp_path / "out", 4).problems == {}


def silent(*errors):
    """A policy that does not answer the first requests."""
    policy, left = SeededPolicy("a"), list(errors)
    answer = policy.sample

    async def sample(messages, n, **settings):
        if left:
            raise left.pop(0)
        return await answer(messages, n, **settings)

    policy.sample = sample
    return policy


FAST = EvaluationTiming(outage_s=0.2, pause_s=0.01)


def test_a_policy_that_is_silent_for_a_while_is_asked_again(tmp_path):
    policy = silent(*[NoAnswerError("unavailable", "down")] * 3)
    assert evaluated(tmp_path / "out", 4, policy=policy, timing=FAST) == evaluated(tmp_path / "whole" / "out", 4)


@pytest.mark.parametrize(
    ("errors", "statement"),
    [
        ([NoAnswerError("unavailable", "HTTP 401", permanent=True)], "does not answer: HTTP 401"),
        ([NoAnswerError("timeout", "slow")] * 1000, "does not answer: slow"),
        ([NoAnswerError("refused", "too long")], "refuses the prompt: too long"),
    ],
)
def test_a_policy_that_has_no_answer_leaves_the_others_alone(tmp_path, errors, statement):
    table = evaluated(tmp_path / "out", 3, policy=silent(*errors), timing=FAST)
    assert statement in table.problems["a on toy"]
    assert table.entry("b", "toy").n == 3
    assert evaluated(tmp_path / "out", 3) == evaluated(tmp_path / "whole" / "out", 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "`seed` is 1"),
        ({"temperature": 0.5}, "`temperature` is 0.5"),
        ({"mode": "improve"}, "`mode` is 'improve'"),
        ({"policy": SeededPolicy("other")}, "is not the one that"),
    ],
)
def test_samples_that_were_drawn_otherwise_are_not_continued(tmp_path, change, message):
    evaluated(tmp_path / "out", 3)
    with pytest.raises(ConfigError, match=message):
        evaluated(tmp_path / "out", 3, **change)


def test_a_sample_without_a_private_grade_is_scored_again(tmp_path):
    class Ungraded(ScorerDouble):
        async def score(self, text, task, group=None):
            return replace(await super().score(text, task, group), private=None)

    entry = evaluated(tmp_path / "out", 4, scorer=Ungraded(), fault_retries=0).entry("a", "toy")
    assert entry.valid == 0 and entry.faults > 0
    assert evaluated(tmp_path / "out", 4) == evaluated(tmp_path / "whole" / "out", 4)


def test_a_task_may_be_moved(tmp_path):
    task = toy_task(tmp_path / "here", reference="print(1)", baseline="print(2)")
    evaluate({"a": SeededPolicy("a")}, task, 2, out=tmp_path / "out", scorer=ScorerDouble())
    shutil.move(tmp_path / "here", tmp_path / "there")
    moved = load_task(str(tmp_path / "there" / task.folder.relative_to(tmp_path / "here")))
    table = evaluate({"a": SeededPolicy("a")}, moved, 4, out=tmp_path / "out", scorer=ScorerDouble())
    assert table.entry("a", "toy").n == 4


def test_samples_that_were_scored_otherwise_are_not_continued(tmp_path):
    class WithAllAnswers(ScorerDouble):
        config = RewardConfig(reward_split="all")

    evaluated(tmp_path / "out", 3)
    with pytest.raises(ConfigError, match="`reward_split` is 'all'"):
        evaluated(tmp_path / "out", 6, scorer=WithAllAnswers())
    task = toy_task(tmp_path / "another")
    answers = task.answers_path.read_text()
    evaluate({"a": SeededPolicy("a")}, task, 2, out=tmp_path / "tasks", scorer=ScorerDouble())
    task.answers_path.write_text(answers.replace("public", "private", 1))
    with pytest.raises(ConfigError, match="answers of toy have changed"):
        evaluate({"a": SeededPolicy("a")}, task, 4, out=tmp_path / "tasks", scorer=ScorerDouble())


def test_a_task_that_has_changed_is_not_continued(tmp_path):
    evaluated(tmp_path / "out", 3)
    (tmp_path / "task" / "toy" / "description.md").write_text("Something else.\n")
    with pytest.raises(ConfigError, match="The prompt of toy"):
        evaluated(tmp_path / "out", 4)


def test_two_processes_do_not_share_a_folder(tmp_path):
    with SampleStore(tmp_path / "out"), pytest.raises(ConfigError, match="Another process"):
        evaluated(tmp_path / "out", 3)


def test_a_full_disk_ends_with_a_statement_and_what_was_stored_is_kept(tmp_path):
    place = Place("a", "toy", "scratch")
    with SampleStore(tmp_path / "out") as store:
        store.add(place, [0], [0], [Sample("short", 1, False, 0.0)], None)
        store._database.execute("PRAGMA max_page_count = 8")
        with pytest.raises(ConfigError, match="cannot be written: database or disk is full"):
            store.add(place, [1], [0], [Sample("x" * 100_000, 1, False, 0.0)], None)
        assert [record.sample.text for record in store.records(place)] == ["short"]


def test_held_out_tasks_and_own_programs(tmp_path):
    task = toy_task(tmp_path, reference="print('reference')")
    table = evaluate(
        [SeededPolicy("a"), "reference", "baseline"], task, 3, scorer=ScorerDouble(), train_tasks=["another"]
    )
    assert table.entry("a", "toy").held_out
    assert table.entry("reference", "toy", "program").n == 1
    assert [row.group for row in table.overall] == ["all", "held-out"]
    assert {entry.policy for entry in table.entries} == {"a", "reference"}  # there is no baseline


def test_an_own_program_that_has_changed_is_run_again(tmp_path):
    task = toy_task(tmp_path, reference="print('reference')")
    for code, runs in (("print('reference')", 1), ("print('better')", 1), ("print('better')", 0)):
        task.reference.write_text(code)
        scorer = ScorerDouble()
        table = evaluate("reference", task, out=tmp_path / "out", scorer=scorer)
        assert table.entry("reference", "toy", "program").n == 1
        with SampleStore(tmp_path / "out", read_only=True) as store:
            (record,) = store.records(Place("reference", "toy", "program"))
        assert record.sample.text == code and record.outcome is not None
        assert len(scorer.scored) == runs


def test_any_text_of_a_policy_can_be_stored(tmp_path):
    text = "\ud800 \x00 <script> " + "x" * 100_000
    table = evaluate(lambda messages: text, toy_task(tmp_path), 1, scorer=ScorerDouble(), out=tmp_path / "out")
    assert table.entries[0].n == 1
    assert read_table(tmp_path / "out") == table
    with SampleStore(tmp_path / "out", read_only=True) as store:
        assert next(iter(store.rows()))["sample_text"] == text


@pytest.mark.parametrize(
    ("policy", "tasks", "settings", "message"),
    [
        ([], "builtin:digits", {}, "no policy"),
        (["a", "a"], "builtin:digits", {}, "called 'a'"),
        (3, "builtin:digits", {}, "no policy"),
        ("a", [], {}, "no task"),
        ("a", "builtin:digits", {"mode": "improve", "n": 1}, "`n` is 1"),
        ("a", "builtin:digits", {"compare_to": "c"}, "'c'"),
    ],
)
def test_user_errors(policy, tasks, settings, message):
    with pytest.raises(ConfigError, match=message):
        evaluate(policy, tasks, **settings)


def test_a_program_whose_score_is_exactly_zero_is_improved(tmp_path):
    class Zero(ScorerDouble):
        async def score(self, text, task, group=None):
            outcome = await super().score(text, task, group)
            return replace(outcome, reward=0.0, reward_parts={"score": 0.0}) if outcome.kind == "valid" else outcome

    entry = evaluated(tmp_path / "out", 8, "improve", scorer=Zero()).entry("a", "toy", "improve")
    assert entry.n == 4


def test_an_outage_is_as_long_as_its_request(tmp_path):
    """However long the programs before have run."""

    class Silent(SeededPolicy):
        async def sample(self, messages, n, **options):
            if len(self.asked) == 1 and not hasattr(self, "was_silent"):
                self.was_silent = True
                raise NoAnswerError("unavailable", "restarting")
            return await super().sample(messages, n, **options)

    class Slow(ScorerDouble):
        async def score(self, text, task, group=None):
            await asyncio.sleep(0.06)
            return await super().score(text, task, group)

    table = evaluated(
        tmp_path / "out", 4, "improve", Silent("a"), Slow(), timing=EvaluationTiming(outage_s=0.05, pause_s=0.0)
    )
    assert table.problems == {} and table.entry("a", "toy", "improve").n == 2


def test_what_an_earlier_call_lacks_is_still_said(tmp_path):
    first, second = toy_task(tmp_path / "task"), {"late": SeededPolicy("late")}
    table = evaluate({"a": SeededPolicy("a")}, first, 4, out=tmp_path / "out", scorer=ScorerDouble("all"))
    (problem,) = table.problems.items()
    table = evaluate(second, first, 4, out=tmp_path / "out", scorer=ScorerDouble())
    assert dict([problem]) == table.problems and table.entry("late", "toy").n == 4
    table = evaluate({"a": SeededPolicy("a")}, first, 4, out=tmp_path / "out", scorer=ScorerDouble())
    assert table.problems == {}


def test_rescored_rollouts_are_no_evaluation(tmp_path):
    with SampleStore(tmp_path / "out") as store:
        store.claim(RESCORED)
    with pytest.raises(ConfigError, match="rollouts that were scored again, not an evaluation"):
        read_table(tmp_path / "out")
    with pytest.raises(ConfigError, match="not an evaluation"):
        evaluated(tmp_path / "out")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        evaluated(tmp_path / "file")
