"""What training on demonstrations of several turns relies on in TRL and transformers."""

from __future__ import annotations

import inspect

import datasets
from transformers import PreTrainedTokenizerBase
from trl import GRPOConfig, SFTConfig
from trl.chat_template_utils import parse_response, supports_tool_calling

from tests.support.tiny import tiny_tokenizer
from trl_mle.demo import tool_format


def test_a_column_of_json_keeps_keys_apart():
    features = datasets.Features({"completion": datasets.List(datasets.Json())})
    rows = [{"completion": [{"role": "tool", "name": "x"}, {"role": "assistant", "content": ""}]}]
    assert datasets.Dataset.from_list(rows, features=features)[0] == rows[0]


def test_the_settings_that_scripts_set():
    assert SFTConfig("x", use_cpu=True, bf16=False).assistant_only_loss is False
    assert GRPOConfig("x", use_cpu=True, bf16=False).max_tool_calling_iterations is None


def test_sft_reads_tools_as_json_text():
    from trl.trainer import sft_trainer

    assert "json.loads(tools) if isinstance(tools, str)" in inspect.getsource(sft_trainer)


def test_the_response_template_is_saved_with_the_tokenizer_and_read_by_trl():
    assert "response_template" in inspect.getsource(PreTrainedTokenizerBase.save_pretrained)
    assert "prefix" in inspect.signature(parse_response).parameters
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = tool_format.CHAT_TEMPLATE
    assert supports_tool_calling(tokenizer)
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    assert not supports_tool_calling(tokenizer)
