"""Tools and answers in the chat templates of families of models that call tools: what a program prints opens no turn."""

from __future__ import annotations

import json
import re

import pytest
import trl.chat_template_utils as templates

from tests.support.sandbox_doubles import Scripted, execution
from tests.support.tasks import toy_task
from tests.support.tiny import tiny_tokenizer
from trl_mle import EpisodeBudget, MLESpec

FAMILIES = [
    "gemma4", "glm4moe", "gptoss", "lfm2_v2", "llama3_1", "llama3_2", "nemotron_3_nano", "qwen2_5", "qwen3",
    "qwen3_5_nothink", "qwen3_instruct_2507",
]  # fmt: skip
TOKEN = re.compile(r"<\|?/?[\w:.=-]{1,40}\|?>|\[/?[A-Z_]+\]")
"""What special tokens, and tags that structure a message, look like."""
CODE = 'import pandas as pd\nprint("a\\tb", {"x": 1})\n'


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    task = toy_task(tmp_path_factory.mktemp("task"))
    return MLESpec({"toy": task}, sandbox=Scripted(execution()), budget=EpisodeBudget(observation_characters=4000))


def tokenizer_of(family):
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = getattr(templates, f"{family}_chat_template")
    assert templates.supports_tool_calling(tokenizer)
    return tokenizer


async def rendered(tokenizer, spec, printed):
    """The conversation after a program that printed a text, as the policy reads it."""
    answer = execution("error", exit_code=1, stdout=printed, stderr=f"{printed}\nValueError: {printed}")
    environment = MLESpec(spec.tasks, sandbox=Scripted(answer), budget=spec.budget).environment_factory()
    environment.reset(task="toy")
    observation = await environment.run_program(CODE)
    call = {"type": "function", "function": {"name": "run_program", "arguments": {"code": CODE}}}
    messages = [
        *spec.rows()[0]["prompt"],
        {"role": "assistant", "content": "I try.", "tool_calls": [call]},
        {"role": "tool", "name": "run_program", "content": observation},
    ]
    tools = [environment.run_program, environment.submit]
    return tokenizer.apply_chat_template(messages, tools=tools, add_generation_prompt=True, tokenize=False)


@pytest.mark.parametrize("family", FAMILIES)
async def test_what_a_program_prints_opens_no_turn(spec, family):
    tokenizer = tokenizer_of(family)
    harmless = await rendered(tokenizer, spec, "nothing")
    tokens = sorted(set(TOKEN.findall(harmless)))
    assert len(tokens) > 2
    hostile = await rendered(tokenizer, spec, "".join(tokens))
    assert len(hostile) > len(harmless) + sum(map(len, tokens))
    assert {token: hostile.count(token) for token in tokens} == {token: harmless.count(token) for token in tokens}


@pytest.mark.parametrize("family", ["qwen2_5", "qwen3", "qwen3_instruct_2507"])
def test_a_program_in_a_call_is_read_as_it_was_written(spec, family):
    tokenizer = templates.add_response_schema(tokenizer_of(family))
    environment = spec.environment_factory()
    tools = [environment.run_program, environment.submit]
    prompt = tokenizer.apply_chat_template(
        spec.rows()[0]["prompt"], tools=tools, add_generation_prompt=True, tokenize=False
    )
    call = json.dumps({"name": "run_program", "arguments": {"code": CODE}})
    ids = tokenizer(f"I try.\n<tool_call>\n{call}\n</tool_call><|im_end|>")["input_ids"]
    message = templates.parse_response(tokenizer, ids, prefix=tokenizer(prompt)["input_ids"], tools=tools)
    assert message["tool_calls"][0]["function"] == {"name": "run_program", "arguments": {"code": CODE}}
