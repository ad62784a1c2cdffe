"""Whatever a policy writes as a tool call, training goes on."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trl.chat_template_utils import parse_response

from tests.support.agents import call, scripted_model, short_prompts
from tests.support.drop_in_tools import tokenizer
from tests.support.tiny import tiny_args
from trl_mle import DurationAwareTrainer
from trl_mle.training.turns.parsing import MAX_DEPTH, any_text_is_a_message, without_surrogates


def nested(times: int) -> str:
    return f'<call>{{"name": "echo", "arguments": {{"x": {"[" * times}{"]" * times}}}}}</call>'


def raw(text: str) -> str:
    return f"<call>{text}</call>"


SCRIPTS = [
    [raw('{"name": "echo", "arguments": {"x": "\\ud800"}}')],
    [raw('{"name": "\\udfff", "arguments": {}}')],
    [raw('{"name": "echo", "arguments": {"\\ud800": 1}}')],
    [nested(80), nested(1000)],
    [raw('{"name": "echo", "arguments": "x"}'), raw('{"name": "echo"}'), raw("[]"), raw("{}"), raw("1e999")],
    [raw('{"name": "echo", "arguments": {"x": NaN, "self": 1}}'), raw('{"name": 1}'), "<call>" + "[" * 1500],
    [call("echo", x="\0") + call("broken")],
    [call("reset"), call("__init__"), call("get_reward")],
]


class Environment:
    def reset(self, **row) -> None:
        pass

    async def echo(self, x: str) -> str:
        """
        Says it again.

        Args:
            x: A text.
        """
        return x

    async def broken(self) -> str:
        """Answers with half a surrogate pair."""
        return "\ud800"


def reward(completions, log_extra, **kwargs):
    log_extra("action_duration", [1.0] * len(completions))
    return [float(len(each)) for each in completions]


def test_training_goes_on(tmp_path):
    trainer = DurationAwareTrainer(
        model=scripted_model(SCRIPTS),
        processing_class=tokenizer(),
        args=tiny_args(tmp_path, max_steps=1, max_completion_length=30_000),
        train_dataset=short_prompts("toy"),
        reward_funcs=reward,
        environment_factory=Environment,
    )
    trainer.train()
    metrics = trainer.state.log_history[0]
    assert metrics["time/generation_s"] > 0
    assert metrics["time/tools_s"] > 0
    assert "parse_response" not in vars(trainer.processing_class)
    said = [[message["content"] for message in each] for each in trainer._logs["completion"]]
    assert said[0][1:] == ["?", "done"]
    assert said[1][1:] == ["{'error': 'Tool ? not found.'}", "done"]
    assert "unexpected keyword argument '?'" in said[2][1]
    assert said[3][2:] == [nested(1000)]
    assert said[6][1:] == ["\0", "?", "done"]
    for row in (4, 5, 7):
        assert all("error" in answer for answer in said[row][1:-1:2])


def test_deep_nesting_ends_a_run_of_trl():
    """The reason for all this. Once TRL takes it for text, the guard can go."""
    encode = tokenizer()
    ids, prefix = encode(nested(1200))["input_ids"], encode("<a>")["input_ids"]
    with pytest.raises(RecursionError):
        parse_response(encode, ids, prefix=prefix, tools=[])
    with any_text_is_a_message(encode):
        assert parse_response(encode, ids, prefix=prefix, tools=[])["content"] == nested(1200)


@settings(max_examples=30)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    )
)
def test_what_any_file_can_hold_stays_as_it_is(value):
    assert without_surrogates(value) == value


def test_the_limit_of_nesting():
    value = []
    for _ in range(MAX_DEPTH):
        value = [value]
    assert without_surrogates(value) == value
    with pytest.raises(ValueError, match="nested more than 100 times"):
        without_surrogates([value])
