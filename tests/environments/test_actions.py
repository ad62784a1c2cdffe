"""Actions of a completion: every second and every part of the reward belongs to exactly one message of the policy."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.earlier_outcomes import earlier
from tests.support.tasks import toy_task
from trl_mle import EpisodeBudget, MLEReward
from trl_mle.environments import read_turns
from trl_mle.environments.actions import action_rewards, actions_of
from trl_mle.environments.records import turns_as_text
from trl_mle.environments.running import RunningEpisode
from trl_mle.types import MILESTONES, Outcome

KINDS = ("valid", "failure", "timeout", "fault")


@pytest.fixture(scope="module")
def begin(tmp_path_factory):
    task = toy_task(tmp_path_factory.mktemp("task"))
    nothing = MLEReward().scorer.not_extracted(task, "no_tool_call")
    return lambda: RunningEpisode(task, None, EpisodeBudget(runs=100), 20.0, nothing)


def outcome_of(kind, number, reward):
    if kind == "fault":
        return Outcome("toy", "fault", None, None, fault="gone")
    done = MILESTONES[: number % 8]
    reward = reward if kind == "valid" else -10 + 0.1 * len(done)
    made = earlier(kind, code=f"print({number})", milestones=done)
    return Outcome("toy", kind, reward, float(number), program=made.program, execution=made.execution)


def message(*calls):
    """A message of the policy that calls tools; a call of a tool that does not exist, too, which never reaches the environment."""
    called = [{"type": "function", "function": {"name": name, "arguments": arguments}} for name, arguments in calls]
    return {"role": "assistant", "content": "", **({"tool_calls": called} if called else {})}


programs = st.tuples(st.sampled_from(KINDS), st.floats(-1, 1))


@given(
    messages=st.lists(
        st.lists(st.one_of(programs, st.sampled_from(["unknown", "wrong", "refused"])), max_size=3), max_size=5
    )
)
def test_seconds_and_rewards_add_up(begin, messages):
    episode, completion, expected, number = begin(), [], [], 0
    for written in messages:
        calls, of_message = [], []
        for item in written:
            number += 1
            code = {"code": f"print({number})"}
            if item in ("unknown", "wrong"):
                calls.append(("shell", code) if item == "unknown" else ("run_program", code | {"more": 1}))
                continue
            calls.append(("run_program", code))
            of_message.append(number)
            if item == "refused" or episode.end is not None:
                episode.add_turn("run_program", code, "", refused="runs")
                continue
            episode.take_run()
            outcome = outcome_of(item[0], number, item[1])
            episode.take_outcome(outcome)
            episode.add_turn("run_program", code, "", outcome)
        completion += [message(*calls), {"role": "tool", "content": ""}]
        expected.append(of_message)
    record = episode.record()
    actions = actions_of(completion, record)
    found = [[int(turn.arguments["code"][6:-1]) for turn in action.turns] for action in actions]
    assert found == (expected or [[]])
    assert sum(action.seconds or 0 for action in actions) == pytest.approx(record.seconds or 0)
    rewards = action_rewards(actions, record)
    if record.outcome.kind == "fault":
        assert rewards == [None] * len(actions)
        assert record.turns[-1].value is None
    else:
        assert sum(rewards) == pytest.approx(record.outcome.reward - record.initial_value)
        assert (record.outcome.kind == "valid") == any(one.kind == "valid" for one in record.programs)
        assert record.outcome.reward >= -1 or not any(one.kind == "valid" for one in record.programs)
    turns = read_turns(turns_as_text(actions))
    assert [turn["action"] for turn in turns] == [row for row, numbers in enumerate(found) for _ in numbers]
    assert [turn["value"] for turn in turns] == [turn.value for turn in record.turns]


@pytest.mark.parametrize(
    "completion", ["text", [], [{"role": "tool"}], [None], [{"role": "assistant", "tool_calls": [None, {}]}]]
)
def test_what_is_no_message_loses_no_second(begin, completion):
    episode = begin()
    episode.take_run()
    episode.take_outcome(outcome_of("valid", 3, 0.5))
    episode.add_turn("run_program", {"code": "print(3)"}, "", outcome_of("valid", 3, 0.5))
    (action,) = actions_of(completion, episode.record())
    assert action.seconds == 3.0
    assert action_rewards([action], episode.record()) == [10.5]


def test_a_record_is_text_that_any_file_can_hold(begin):
    deep: list = []
    for _ in range(5000):
        deep = [deep]
    episode = begin()
    for code in ("\ud800 half", {"a": ["\udfff"]}, deep, "x" * 10**6, None):
        episode.add_turn("run_program", {"code": code}, "seen", refused="not_text")
    text = turns_as_text(actions_of([], episode.record()))
    assert len(text) < 30_000
    turns = read_turns(text)
    json.dumps(turns, ensure_ascii=False).encode()
    assert [turn["observation"] for turn in turns] == ["seen"] * 5
    assert turns[0]["code"] == "? half"
    assert turns[2]["code"] == "<list>"
    assert turns[4]["code"] is None
    assert read_turns(None) == read_turns("") == read_turns(float("nan")) == []
