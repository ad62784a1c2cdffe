"""A search: the best attempt is kept, whatever ends it, and a later session goes on."""

from __future__ import annotations

import asyncio
import json
import os
import signal

import pandas as pd
import pytest

from tests.support.solving import NumberSandbox, ScriptedPolicy, text_of
from tests.support.tasks import toy_task
from trl_mle import ProgramScorer
from trl_mle.errors import ConfigError, SandboxError, SandboxUnavailableError
from trl_mle.instrumentation.no_instrumenter import NoInstrumenter
from trl_mle.language_models.client import NoAnswerError
from trl_mle.solve import Problem, SearchSettings, solve
from trl_mle.solve.attempts import FACTS, AttemptLog
from trl_mle.solve.files import own_folder

LONG_S = 60.0


def offset(value) -> str:
    return text_of(f"offset = {value}")


def open_file(out, name):
    return (out / name).read_text(encoding="utf-8")


@pytest.fixture
def problem(tmp_path):
    return Problem("toy", toy_task(tmp_path))


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def scorer(sandbox):
    return ProgramScorer(sandbox, NoInstrumenter())


async def search(problem, policy, out, sandbox, budget_s=LONG_S, **settings):
    return await solve(problem, policy, out, budget_s, scorer(sandbox), SearchSettings(**settings))


async def test_the_best_by_public_score_is_written_and_improved(problem, out):
    policy = ScriptedPolicy(offset(0.9), "no program", offset(0.1), offset(0.5))
    found = await search(problem, policy, out, NumberSandbox(fails_on=(0.5,)), attempts=24)
    assert (found.attempts, found.valid, found.reason) == (24, 12, "24 attempts are made")
    assert open_file(out, "solution.py").strip() == "offset = 0.1"
    written = pd.read_csv(out / "submission.csv")
    test = pd.read_csv(problem.task.test_path)
    assert (written["y"] - (2 * test["a"] - test["b"] + 0.1)).abs().max() < 1e-9
    assert found.best is not None and found.best.outcome.public == problem.task.grade(out / "submission.csv")
    assert dict(found.failures) == {"no program: no code block": 6, "ValueError: bad offset 0.5": 6}
    page = open_file(out, "page.html")
    assert "offset = 0.1" in page and "bad offset 0.5" in page
    shown = [text for prompt in policy.prompts for text in [prompt[-1]["content"]] if "offset =" in text]
    assert shown, "no prompt shows an earlier program"


async def test_nothing_valid_is_said_and_the_page_is_written(problem, out):
    found = await search(problem, ScriptedPolicy(offset(1)), out, NumberSandbox(fails_on=(1.0,)), attempts=4)
    assert found.best is None and found.failures == (("ValueError: bad offset 1.0", 4),)
    assert not (out / "solution.py").exists() and not (out / "submission.csv").exists()
    assert "bad offset" in open_file(out, "page.html")


async def test_a_later_session_goes_on(problem, out):
    await search(problem, ScriptedPolicy(offset(0.3)), out, NumberSandbox(), attempts=2)
    sandbox = NumberSandbox()
    found = await search(problem, ScriptedPolicy(offset(0.4), offset(0.2)), out, sandbox, attempts=6)
    assert found.attempts == 6 and len(sandbox.ran) == 4
    assert open_file(out, "solution.py").strip() == "offset = 0.2"
    assert len(json.loads(open_file(out, "solve.json"))["sessions"]) == 2
    again = await search(problem, ScriptedPolicy(offset(0.5)), out, NumberSandbox(), attempts=6)
    assert again.attempts == 6 and again.best is not None and again.best.id == found.best.id


async def test_files_of_another_attempt_are_written_again(problem, out):
    """As after a kill between the two files."""
    await search(problem, ScriptedPolicy(offset(0.3)), out, NumberSandbox(), attempts=1)
    submission = (out / "submission.csv").read_bytes()
    (out / "solution.py").write_text("offset = 7")
    (out / "submission.csv").write_text("half")
    with (out / FACTS).open("ab") as file:
        file.write(b'{"id": 1, "sec')
    sandbox = NumberSandbox()
    found = await search(problem, ScriptedPolicy(offset(0.9)), out, sandbox, attempts=1)
    assert [ran for ran, _ in sandbox.ran] == [0.3]
    assert (out / "submission.csv").read_bytes() == submission and open_file(
        out, "solution.py"
    ).strip() == "offset = 0.3"
    assert found.best is not None
    log = AttemptLog(out)  # the line that was cut spoils no later one
    assert [attempt.facts is not None for attempt in log] == [True]
    log.close()


async def test_a_best_program_that_fails_now_leaves_its_place_to_the_next_best(problem, out):
    policy = ScriptedPolicy(offset(0.3), offset(0.1), offset(0.2))
    for attempts in (1, 2, 3):  # 0.2 never was the best one
        await search(problem, policy, out, NumberSandbox(), attempts=attempts)
    (out / "solution.py").write_text("offset = 7")
    found = await search(problem, policy, out, NumberSandbox(fails_on=(0.1,)), attempts=3)
    assert found.best is not None and open_file(out, "solution.py").strip() == "offset = 0.2"
    again = await search(problem, policy, out, NumberSandbox(), attempts=3)
    assert again.best.id == found.best.id, "what was refused stays refused"


async def test_a_better_attempt_that_a_kill_has_cut_off_is_looked_at(problem, out):
    """It is in the store, and a kill came before it was the best one."""
    await search(problem, ScriptedPolicy(offset(0.3)), out, NumberSandbox(), attempts=1)
    log = AttemptLog(out)
    sandbox = NumberSandbox()
    async with scorer(sandbox) as opened:
        log.add(await opened.score(offset(0.1), problem.task), "scratch", None)
    log.close()
    found = await search(problem, ScriptedPolicy(offset(0.9)), out, sandbox, attempts=2)
    assert found.best is not None and found.best.id == 2 and found.attempts == 2
    assert open_file(out, "solution.py").strip() == "offset = 0.1"


async def test_a_fault_while_the_best_is_confirmed_loses_nothing(problem, out, monkeypatch):
    """With the files of another attempt and a sandbox that fails, the best one stays the best one."""
    await search(problem, ScriptedPolicy(offset(0.3)), out, NumberSandbox(), attempts=1)
    (out / "solution.py").write_text("offset = 7")
    sandbox = NumberSandbox(answers=[SandboxError("gone", may_have_started=True)] * 3)
    found = await search(problem, ScriptedPolicy(offset(0.9)), out, sandbox, attempts=1)
    assert found.best is not None and found.best.id == 1
    found = await search(problem, ScriptedPolicy(offset(0.9)), out, NumberSandbox(), attempts=1)
    assert open_file(out, "solution.py").strip() == "offset = 0.3"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_the_search_and_keeps_the_best(problem, out, number):
    sandbox = NumberSandbox(hangs_on=(0.0,))
    policy = ScriptedPolicy(offset(0.3), offset(0.0))

    def interrupt(moment, new_best):
        if new_best is not None:
            os.kill(os.getpid(), number)

    found = await solve(problem, policy, out, LONG_S, scorer(sandbox), on_progress=interrupt)
    assert found.reason == "interrupted" and open_file(out, "solution.py").strip() == "offset = 0.3"
    assert sandbox.cancelled > 0 and (out / "page.html").exists()


async def test_programs_that_run_at_the_end_of_the_budget_are_stopped(problem, out):
    sandbox = NumberSandbox(hangs_on=(0.0,))
    found = await search(problem, ScriptedPolicy(offset(0.4), offset(0.0)), out, sandbox, budget_s=1.0)
    assert found.reason == "the budget is over" and found.best is not None and sandbox.cancelled > 0


async def test_a_policy_that_does_not_answer_ends_the_search(problem, out, monkeypatch):
    async def at_once(seconds):
        await real_sleep(0)

    real_sleep = asyncio.sleep
    monkeypatch.setattr("trl_mle.solve.search.asyncio.sleep", at_once)
    policy = ScriptedPolicy(
        offset(0.3), offset(0.3), offset(0.3), offset(0.3), *[NoAnswerError("unavailable", "gone")] * 9
    )
    found = await search(problem, policy, out, NumberSandbox(), answer_failures=3)
    assert found.reason == "the policy gives no answers: gone" and found.best is not None


async def test_a_budget_that_ends_without_an_answer_says_so(problem, out):
    policy = ScriptedPolicy(NoAnswerError("unavailable", "gone"))
    found = await search(problem, policy, out, NumberSandbox(), budget_s=0.2)
    assert found.reason == "the budget is over, and the policy gives no answers: gone" and not found.failures


async def test_a_budget_that_ends_before_the_first_answer_says_so(problem, out):
    moments = []

    class Slow(ScriptedPolicy):
        async def sample(self, messages, n, **settings):
            await asyncio.sleep(LONG_S)

    settings = SearchSettings(max_tokens=700)
    found = await solve(
        problem,
        Slow(),
        out,
        1.2,
        scorer(NumberSandbox()),
        settings,
        on_progress=lambda moment, best: moments.append(moment),
    )
    assert found.reason == (
        "the budget is over, and the policy has not answered in 1 s (4 completions of at most 700 tokens per request)"
    )
    assert moments[-1].asking_s > 0.5


async def test_a_budget_in_which_no_program_ends_says_so(problem, out):
    class Endless(NumberSandbox):
        async def run(self, *args, **kwargs):
            await asyncio.sleep(LONG_S)

    found = await search(problem, ScriptedPolicy(offset(0.3)), out, Endless(), budget_s=0.5, attempts=2)
    assert found.attempts == 0
    assert found.reason == (
        "the budget is over, and none of the 2 programs had ended. A program of this task may take "
        f"{problem.task.time_limit_s:g} s; give a larger budget or a shorter time limit"
    )


async def test_the_time_of_a_search_goes_on_from_all_of_an_earlier_session(problem, out):
    """Also what came after its last attempt counts."""
    first = await search(problem, ScriptedPolicy(offset(0.3)), out, NumberSandbox(), attempts=2)
    state = json.loads(open_file(out, "solve.json"))
    assert state["sessions"][0]["seconds"] == pytest.approx(first.seconds, abs=0.1)
    state["sessions"][0]["seconds"] = 100.0
    (out / "solve.json").write_text(json.dumps(state))
    found = await search(problem, ScriptedPolicy(offset(0.4)), out, NumberSandbox(), attempts=4)
    log = AttemptLog(out)
    assert [attempt.facts.second >= 100 for attempt in log] == [False, False, True, True]
    assert found.seconds >= log.seconds
    log.close()


async def test_a_signal_ends_what_an_earlier_session_has_left_undone(problem, out):
    await search(problem, ScriptedPolicy(offset(0.3)), out, NumberSandbox(), attempts=1)
    (out / "solution.py").write_text("offset = 7")

    class Interrupted(NumberSandbox):
        async def run(self, code, task, limits=None, *, source=None, group=None):
            os.kill(os.getpid(), signal.SIGINT)
            return await super().run(code, task, limits, source=source, group=group)

    sandbox = Interrupted(hangs_on=(0.3,))
    found = await search(problem, ScriptedPolicy(offset(0.9)), out, sandbox, attempts=9)
    assert found.reason == "interrupted" and found.attempts == 1 and sandbox.cancelled == 1
    found = await search(problem, ScriptedPolicy(offset(0.9)), out, NumberSandbox(), attempts=1)
    assert open_file(out, "solution.py").strip() == "offset = 0.3"


async def test_a_prompt_that_is_refused_is_not_a_dead_policy(problem, out, monkeypatch):
    """A prompt with an earlier program may be too long; prompts from scratch go on."""

    class Picky(ScriptedPolicy):
        async def sample(self, messages, n, **settings):
            if "offset =" in messages[-1]["content"]:
                raise NoAnswerError("refused", "too long")
            return await super().sample(messages, n, **settings)

    monkeypatch.setattr("trl_mle.solve.search.REFUSED_S", 0.0)
    found = await search(problem, Picky(offset(0.3)), out, NumberSandbox(), attempts=40, answer_failures=1)
    assert found.attempts == 40


async def test_a_sandbox_that_fails_again_and_again_ends_the_search(problem, out):
    sandbox = NumberSandbox(answers=[SandboxError("gone", may_have_started=True)] * 1000)
    found = await search(problem, ScriptedPolicy(offset(0.3)), out, sandbox)
    assert found.best is None and "could not be scored" in found.reason and "gone" in found.reason
    assert "infrastructure" in found.failures[0][0]


async def test_a_sandbox_that_cannot_work_is_an_error(problem, out):
    class Unavailable(NumberSandbox):
        async def __aenter__(self):
            raise SandboxUnavailableError("no namespaces here")

    with pytest.raises(SandboxUnavailableError, match="no namespaces"):
        await search(problem, ScriptedPolicy(offset(0.3)), out, Unavailable())


async def test_a_full_disk_is_raised(problem, out, monkeypatch):
    def full(*arguments):
        raise ConfigError("disk is full")

    monkeypatch.setattr("trl_mle.solve.result_files.write_whole", full)
    with pytest.raises(ConfigError, match="disk is full"):
        await search(problem, ScriptedPolicy(offset(0.3)), out, NumberSandbox(), attempts=4)


async def test_a_folder_of_another_search_is_refused(problem, out):
    await search(problem, ScriptedPolicy(offset(0.3)), out, NumberSandbox(), attempts=1)
    with pytest.raises(ConfigError, match="holds a search for toy, not for other"):
        await search(Problem("other", problem.task), ScriptedPolicy(offset(0.3)), out, NumberSandbox(), attempts=1)


async def test_two_searches_in_one_folder_are_refused(problem, out):
    """And what a kill has left half-written is removed."""
    left = out / ".solution.py-x.part"
    left.write_text("half")

    def second(moment, new_best):
        with pytest.raises(ConfigError, match="Another search is running"), own_folder(out):
            pass
        assert not left.exists()

    policy = ScriptedPolicy(offset(0.3))
    await solve(problem, policy, out, LONG_S, scorer(NumberSandbox()), SearchSettings(attempts=1), on_progress=second)


async def test_each_request_has_its_own_seed(problem, out):
    policy = ScriptedPolicy(offset(0.3))
    await search(problem, policy, out, NumberSandbox(), attempts=20)
    assert len(set(policy.seeds)) == len(policy.seeds) >= 5
