"""Rollouts with tools are those of TRL's own loop, whatever a policy writes."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.tool_loop import (
    Loop,
    Tools,
    call,
    first_turns,
    ours,
    random_policy,
    scripted_trainer,
    theirs,
    written,
)


@pytest.fixture(scope="module")
def loop():
    with Loop() as running:
        yield running


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(1, 5),
    room=st.sampled_from([30, 60, 150, 400, 10_000]),
    iterations=st.sampled_from([0, 1, 2, 100]),
    with_logprobs=st.booleans(),
    mode=st.sampled_from(["together", "independent"]),
)
def test_transcripts_are_those_of_trl(loop, seed, rows, room, iterations, with_logprobs, mode):
    write = random_policy(seed)

    def trainer():
        return scripted_trainer(
            write,
            [Tools(row) for row in range(rows)],
            loop,
            max_completion_length=room,
            iterations=iterations,
            with_logprobs=with_logprobs,
            tool_rollouts=mode,
        )

    first, second = trainer(), trainer()
    texts = [first._tokenizer.decode(write([row])) for row in range(rows)]
    arguments = first_turns(first, texts)
    if with_logprobs:
        arguments["logprobs"] = [[-1.0] * len(ids) for ids in arguments["completion_ids"]]
    expected, expected_prompts = theirs(first, arguments)
    found, prompts = ours(second, arguments)
    assert found == expected
    assert prompts == expected_prompts
    if mode == "together":
        assert second.batches == first.batches, "the same batches are generated"


def test_a_turn_is_a_stretch_of_policy_tokens(loop):
    """Also where the last turn was cut, or has no room at all."""
    for room in range(40, 260, 7):
        made = scripted_trainer(
            lambda ids: written(call("later", x=len(ids))), [Tools(0)], loop, max_completion_length=room, iterations=6
        )
        (masks, completions, ids, *_), _ = ours(made, first_turns(made, [call("later", x=1)]))
        begins = masks[0][:1] + [after > before for before, after in pairwise(masks[0])]
        assert len(masks[0]) == len(ids[0])
        assert sum(begins) == sum(message["role"] == "assistant" for message in completions[0])


def test_a_slow_tool_holds_up_only_its_own_rollout_if_they_are_independent(loop):
    """The first rollout's tool waits until the others have come to their end, which with one batch per turn they never would."""
    ended = asyncio.Event()

    class Waiting(Tools):
        async def later(self, x: int, s: float = 0.0):
            """
            Answers later.

            Args:
                x: A number.
                s: Seconds.
            """
            if self.row == 0:
                await asyncio.wait_for(ended.wait(), 20)
            elif x == 3:
                ended.set()
            return x

    def write(ids):
        turn = bytes(made._tokenizer.decode(ids), "utf8").count(b"[")
        return written(call("later", x=turn + 1) if turn < 3 else "done")

    made = scripted_trainer(write, [Waiting(row) for row in range(3)], loop, tool_rollouts="independent")
    (_, completions, *_, calls, failures, _), _ = ours(made, first_turns(made, [call("later", x=1)] * 3))
    assert [each[-1]["content"] for each in completions] == ["done"] * 3
    assert (calls, failures) == (9, 0)
    assert made.batches[0] < 3


def test_synchronous_tools_run_in_the_order_of_trl(loop):
    def trainer(log):
        return scripted_trainer(
            lambda ids: written("done" if ids.count(written("[", ends=False)[0]) > 1 else call("add", x=3)),
            [Tools(row, log) for row in range(3)],
            loop,
        )

    logs: tuple[list, list] = [], []
    first, second = trainer(logs[0]), trainer(logs[1])
    arguments = first_turns(first, [call("add", x=1) + call("add", x=2)] * 3)
    assert theirs(first, arguments) == ours(second, arguments)
    assert logs[0] == logs[1] != []
