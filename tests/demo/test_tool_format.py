"""The demo policy's tool calls: what the chat template writes, `parse_response` reads."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer
from trl.chat_template_utils import is_chat_template_prefix_preserving, parse_response, supports_tool_calling

from trl_mle.demo.tiny_policy import build_tokenizer
from trl_mle.demo.tool_format import MARKERS

PROMPT = [{"role": "user", "content": "solve it"}]


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(["import pandas as pd\nmodel.fit(X, y)\n"] * 20, vocab_size=400, tool_calls=True)


def call(name, plan="", **arguments):
    calls = [{"type": "function", "function": {"name": name, "arguments": arguments}}]
    return {"role": "assistant", "content": plan, "tool_calls": calls}


def written(tokenizer, message):
    """Ids of the prompt, and those that the policy would write."""
    prefix = tokenizer.apply_chat_template(PROMPT, add_generation_prompt=True, tokenize=True, return_dict=False)
    ids = tokenizer.apply_chat_template([*PROMPT, message], tokenize=True, return_dict=False)
    assert ids[: len(prefix)] == prefix
    return prefix, ids[len(prefix) : ids.index(tokenizer.eos_token_id, len(prefix)) + 1]


# Text as a program has it: the tokenizer writes NFC, and a call ends at its own closing tag.
code = st.text(st.characters(codec="ascii", exclude_characters="\x00\r")).filter(
    lambda text: text.strip() and not any(word in text for word in ("</parameter>", "</tool_call>", "<|"))
)


@settings(max_examples=200, deadline=None)
@given(code=code, plan=st.text(st.characters(codec="ascii", exclude_characters="<\r"), max_size=40))
def test_a_call_is_parsed_as_it_was_written(tokenizer, code, plan):
    message = call("run_program", plan.strip(), code=code.strip())
    prefix, ids = written(tokenizer, message)
    assert parse_response(tokenizer, ids, prefix=prefix) == message


def test_trl_can_train_with_it_and_a_saved_tokenizer_parses_the_same(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    for each in (tokenizer, again):
        assert supports_tool_calling(each)
        assert is_chat_template_prefix_preserving(each)
        prefix, ids = written(each, call("submit", code=None))
        assert parse_response(each, ids, prefix=prefix) == call("submit")
        assert len(ids) == 2, "one token, and the end of the message"


def test_parts_of_calls_are_single_tokens(tokenizer):
    for marker in MARKERS:
        assert len(tokenizer(marker)["input_ids"]) == 1, marker


def test_only_what_the_policy_writes_is_learned(tokenizer):
    messages = [
        *PROMPT,
        call("run_program", "Model: ridge", code="import pandas as pd\nx = 1"),
        {"role": "tool", "name": "run_program", "content": "It failed."},
        {"role": "assistant", "content": ""},
    ]
    shown = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
    learned = "".join(
        tokenizer.decode([id_]) for id_, mask in zip(shown["input_ids"], shown["assistant_masks"], strict=True) if mask
    )
    program = f"{MARKERS[1]}import pandas as pd\nx = 1\n{MARKERS[2]}"
    assert learned == f"Model: ridge\n{program}<|im_end|><|im_end|>"


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>\n<function=run_program>\n<parameter=code>\nimport pandas",  # cut at the longest completion
        "<tool_call>\n<function=>\n</tool_call>",
        "<tool_call></tool_call></parameter>",
        "<tool_call>\n<function=run_program>\n<parameter=>\nx\n</parameter>\n</function>\n</tool_call>",
        "<|im_start|>assistant\n",
        "",
    ],
)
def test_broken_calls_are_messages_all_the_same(tokenizer, text):
    prefix, _ = written(tokenizer, call("submit"))
    message = parse_response(tokenizer, [*tokenizer(text)["input_ids"], tokenizer.eos_token_id], prefix=prefix)
    assert message["role"] == "assistant"
    for made in message.get("tool_calls", ()):
        assert not made["function"]["arguments"].get("code")
