"""Agents in an evaluation: real programs in the sandbox, calls of any kind, and episodes that a fault or a kill interrupts."""

from __future__ import annotations

import json

import pytest

from tests.support.sandbox_doubles import Scripted, execution
from tests.support.tasks import toy_task
from trl_mle import LocalSandbox, ProgramScorer
from trl_mle.config import EpisodeBudget, PoolConfig
from trl_mle.environments import read_turns
from trl_mle.errors import ConfigError, SandboxError
from trl_mle.evaluation import evaluate
from trl_mle.evaluation.sample_store import Place, SampleStore
from trl_mle.language_models.client import NoAnswerError
from trl_mle.language_models.sampling import Sample
from trl_mle.sandboxes import SandboxPool

GOOD = (
    "import pandas as pd\ntest = pd.read_csv('input/test.csv')\n"
    "test[['id']].assign(y=2 * test['a'] - test['b']).to_csv('submission.csv', index=False)\nprint('secret output')\n"
)
SUBMISSION = ("id,y\n" + "".join(f"{number},0.5\n" for number in range(90, 130))).encode()


def call(name, arguments):
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


class Agent:
    """Writes messages with given tool calls, one after another, and then one without."""

    model = "agent"
    samples_per_request = 4

    def __init__(self, *messages, error_at=None):
        self.messages = messages
        self.error_at = error_at
        self.asked = []

    async def sample(self, messages, n, *, tools=None, seed, max_tokens, **settings):
        number = sum(message["role"] == "assistant" for message in messages)
        self.asked.append((messages[-1], seed, max_tokens, tools))
        if number == self.error_at:
            raise NoAnswerError("refused", "too long")
        calls = list(self.messages[number]) if number < len(self.messages) else []
        message = {"role": "assistant", "content": f"message {number}"} | ({"tool_calls": calls} if calls else {})
        return [Sample("text", 10, False, 0.5, 100 + 15 * number, message=message)] * n

    def count_tokens(self, messages):
        return None

    async def aclose(self):
        return None


def run(folder, agent, n=2, sandbox=None, runs=3, **options):
    task = toy_task(folder / "task")
    scorer = ProgramScorer(
        SandboxPool(sandbox or Scripted(execution(submission=SUBMISSION)), PoolConfig(progress="off"))
    )
    return evaluate(
        {"agent": agent},
        task,
        n,
        mode="agent",
        episode=EpisodeBudget(runs=runs),
        scorer=scorer,
        out=folder / "out",
        **options,
    )


def records(folder):
    with SampleStore(folder / "out", read_only=True) as store:
        return store.records(Place("agent", "toy", "agent"))


def test_an_agent_repairs_its_program_in_the_sandbox(tmp_path):
    agent = Agent(
        [call("run_program", {"code": "1 / 0"})], [call("run_program", {"code": GOOD})], [call("submit", {})]
    )
    table = run(tmp_path, agent, sandbox=LocalSandbox(workers=1))
    entry = table.entry("agent", "toy", "agent")
    assert (entry.n, entry.valid) == (2, 2)
    assert entry.best.private_score < 0.2
    assert entry.programs_to_valid == 2.0
    assert entry.tokens == 30
    (first, _) = records(tmp_path)
    assert [turn["tool"] for turn in read_turns(first.turns)] == ["run_program", "run_program", "submit"]
    observations = [message["content"] for message in json.loads(first.sample.text) if message["role"] == "tool"]
    assert "ZeroDivisionError" in observations[0]
    assert "secret output" in observations[1]
    assert {tool["function"]["name"] for tool in agent.asked[0][3]} == {"run_program", "submit"}


@pytest.mark.parametrize(
    "calls",
    [
        [],
        [call("nothing", {})],
        [call("run_program", {"program": "x"})],
        [call("run_program", None)],
        [call("run_program", "not json")],
        [call("run_program", ["code"])],
        [{"type": "function"}],
        ["call"],
        [call("submit", {})] * 1000,
    ],
    ids=str,
)
def test_any_call_is_answered_and_pays_nothing(tmp_path, calls):
    agent = Agent(*[calls] * 50)
    entry = run(tmp_path, agent, n=1).entry("agent", "toy", "agent")
    assert (entry.n, entry.valid, entry.faults) == (1, 0, 0)
    assert len(agent.asked) <= 3 + 4
    assert len(records(tmp_path)[0].sample.text) < 100_000


def test_messages_have_seeds_of_their_own_and_share_the_tokens_of_an_episode(tmp_path):
    agent = Agent(*[[call("run_program", {"code": GOOD})]] * 3)
    run(tmp_path, agent, n=1, max_tokens=40)
    assert len({seed for _, seed, _, _ in agent.asked}) == len(agent.asked)
    assert [most for _, _, most, _ in agent.asked] == [40, 30, 15]
    assert records(tmp_path)[0].sample.truncated is True or len(agent.asked) == 4


def test_a_conversation_that_has_become_too_long_ends_the_episode(tmp_path):
    table = run(tmp_path, Agent([call("run_program", {"code": GOOD})], error_at=1), n=1)
    entry = table.entry("agent", "toy", "agent")
    assert (entry.valid, entry.truncated) == (1, 1)
    assert table.problems == {}


def test_an_episode_that_a_fault_ends_begins_again(tmp_path):
    answers = [SandboxError("gone"), execution(submission=SUBMISSION)]
    agent = Agent([call("run_program", {"code": GOOD})])
    assert run(tmp_path / "a", agent, n=1, sandbox=Scripted(*answers)).entry("agent", "toy", "agent").valid == 1
    table = run(tmp_path / "b", agent, n=1, sandbox=Scripted(answers[0]))
    entry = table.entry("agent", "toy", "agent")
    assert (entry.n, entry.faults) == (0, 1)
    assert "lost to infrastructure faults" in table.problems["agent on toy"]


def test_what_is_missing_is_drawn_and_another_budget_refused(tmp_path):
    agent = Agent([call("run_program", {"code": GOOD})])
    first = run(tmp_path, agent, n=3)
    asked = len(agent.asked)
    with SampleStore(tmp_path / "out") as store:
        store._database.execute("DELETE FROM samples WHERE number = 1")
        store._database.commit()

    def again(**changes):
        from trl_mle import load_task

        task = load_task(str(tmp_path / "task" / "toy"))
        scorer = ProgramScorer(Scripted(execution(submission=SUBMISSION)))
        budget = EpisodeBudget(**{"runs": 3} | changes)
        return evaluate({"agent": agent}, task, 3, mode="agent", episode=budget, scorer=scorer, out=tmp_path / "out")

    assert again() == first
    assert len(agent.asked) == asked + 2
    with pytest.raises(ConfigError, match="`episode` is"):
        again(observation_characters=900)
