"""TransformersPolicy: seeds belong to rows, batches do not matter, adapters load, callers may leave."""

from __future__ import annotations

import asyncio
import math
import threading
from collections import Counter

import pytest
import torch
from transformers import AutoModelForCausalLM, FalconH1Config, Lfm2Config, MambaConfig, MistralConfig

from tests.support import drop_in_tools
from tests.support.tiny import save_chat_model
from trl_mle.errors import ConfigError
from trl_mle.language_models.client import NoAnswerError
from trl_mle.language_models.sampling import open_policy
from trl_mle.language_models.sampling.seeded_rows import SeededRows
from trl_mle.language_models.sampling.tool_calls import MAX_DEPTH, parse_message, tool_schemas, with_tool_calls

SETTINGS = {"temperature": 1.0, "top_p": 1.0, "max_tokens": 6}


def prompt(text):
    return [{"role": "user", "content": text}]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_chat_model(tmp_path_factory.mktemp("model"))


async def test_a_sample_depends_on_prompt_and_seed_and_not_on_its_batch(model):
    policy = open_policy(model, dtype="float32", batch_size=5)
    together = await asyncio.gather(
        *(
            policy.sample(prompt(text), 3, seed=seed, **SETTINGS)
            for text, seed in (("a", 7), ("a longer one", 7), ("a", 9))
        )
    )
    alone = [await policy.sample(prompt("a longer one"), 1, seed=7 + index, **SETTINGS) for index in range(3)]
    assert [sample.text for sample in together[1]] == [samples[0].text for samples in alone]
    assert together[0][2].text == together[2][0].text  # both have the seed 9
    assert len({sample.text for samples in together for sample in samples}) > 4
    assert all(sample.tokens == 6 and sample.truncated for samples in together for sample in samples)
    greedy = await policy.sample(prompt("a"), 2, seed=1, **SETTINGS | {"temperature": 0.0})
    assert greedy[0].text == greedy[1].text
    await policy.aclose()


@pytest.mark.filterwarnings(
    "error:.*past_key_values.*:FutureWarning"
)  # a reader of `solve` would see it with each batch
async def test_a_prompt_that_all_rows_share_is_read_once(model, monkeypatch):
    policy = open_policy(model, dtype="float32")
    shapes = []
    policy._model.register_forward_pre_hook(
        lambda module, args, kwargs: shapes.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    together = await policy.sample(prompt("a longer one"), 4, seed=7, **SETTINGS)
    length = policy.count_tokens(prompt("a longer one"))
    assert shapes[0] == (1, length - 1) and set(shapes[1:]) == {(4, 1)}
    monkeypatch.setattr(policy, "_shared_prompt", lambda batch: {})
    row_by_row = await policy.sample(prompt("a longer one"), 4, seed=7, **SETTINGS)
    assert shapes[7] == (4, length)
    assert [sample.text for sample in together] == [sample.text for sample in row_by_row]
    await policy.aclose()


async def test_a_model_without_keys_and_values_reads_each_row(model, monkeypatch):
    """Such as a model with a cache of its own. It reads a shared prompt in vain only once."""
    policy = open_policy(model, dtype="float32")
    reads = []
    policy._model.register_forward_pre_hook(lambda *_: reads.append(1))
    expected = await policy.sample(prompt("a longer one"), 2, seed=7, **SETTINGS)
    monkeypatch.setattr("trl_mle.language_models.sampling.transformers_policy.DynamicCache", int)
    del reads[:]
    for extra in (1, 0):
        samples = await policy.sample(prompt("a longer one"), 2, seed=7, **SETTINGS)
        assert [sample.text for sample in samples] == [sample.text for sample in expected]
        assert len(reads) == SETTINGS["max_tokens"] + extra
        del reads[:]
    await policy.aclose()


SMALL = {
    "vocab_size": 258,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": None,
}
MAMBA = {"mamba_d_ssm": 64, "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 16, "mamba_n_groups": 1}


@pytest.mark.parametrize(
    ("config", "shares"),
    [
        (MistralConfig(**SMALL, head_dim=16, sliding_window=4), True),
        (Lfm2Config(**SMALL, layer_types=["conv", "full_attention"]), True),
        (FalconH1Config(**SMALL, **MAMBA), True),
        (MambaConfig(**SMALL), False),
    ],
    ids=["sliding window", "layers of two kinds", "both kinds in one layer", "no attention"],
)
async def test_each_kind_of_state_gives_the_samples_of_rows_that_are_read_alone(config, shares, tmp_path):
    save_chat_model(tmp_path)
    with torch.random.fork_rng():  # other tests draw their weights from it
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    policy = open_policy(str(tmp_path), dtype="float32")
    together = await policy.sample(prompt("a longer one"), 3, seed=7, **SETTINGS)
    alone = [await policy.sample(prompt("a longer one"), 1, seed=7 + index, **SETTINGS) for index in range(3)]
    assert [sample.text for sample in together] == [samples[0].text for samples in alone]
    assert policy._shares_prompts == shares
    await policy.aclose()


async def test_completions_of_different_lengths_share_a_batch(model, monkeypatch):
    """As those of agents do, of which each has other tokens left."""
    policy = open_policy(model, dtype="float32")
    generate, sizes = policy._generate, []

    def counting(batch, stop):
        sizes.append(len(batch))
        return generate(batch, stop)

    monkeypatch.setattr(policy, "_generate", counting)
    lengths = (2, 9, 5)
    together = await asyncio.gather(
        *(policy.sample(prompt("a" * most), 1, seed=3, **SETTINGS | {"max_tokens": most}) for most in lengths)
    )
    assert sizes == [3] and [sample.tokens for (sample,) in together] == list(lengths)
    for most, (sample,) in zip(lengths, together, strict=True):
        (alone,) = await policy.sample(prompt("a" * most), 1, seed=3, **SETTINGS | {"max_tokens": most})
        assert (alone.text, alone.tokens, alone.truncated) == (sample.text, most, True)
    long = prompt("a b c d e f " * 4)
    policy.context_tokens = policy.count_tokens(long) + 6
    sizes.clear()
    await asyncio.gather(  # together they would be longer than the context
        policy.sample(long, 1, seed=0, **SETTINGS),
        policy.sample(prompt("x"), 1, seed=0, **SETTINGS | {"max_tokens": 90}),
    )
    assert sizes == [1, 1]
    await policy.aclose()


def test_noise_samples_from_the_softmax():
    """Frequencies of 4,000 draws are within five standard deviations of the probabilities."""
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]])
    draws = 4000
    rows = SeededRows(range(draws), 0.5, 1.0, "cpu", threading.Event())
    picked = Counter(rows(None, logits.expand(draws, 4)).argmax(-1).tolist())
    for token, probability in enumerate(torch.softmax(logits[0] / 0.5, -1).tolist()):
        deviation = math.sqrt(probability * (1 - probability) / draws)
        assert abs(picked[token] / draws - probability) < 5 * deviation
    nucleus = SeededRows(range(draws), 1.0, 0.5, "cpu", threading.Event())
    assert set(nucleus(None, logits.expand(draws, 4)).argmax(-1).tolist()) == {0}


async def test_a_prompt_beyond_the_context_is_refused_and_a_near_one_is_cut(model):
    policy = open_policy(model)
    (sample,) = await policy.sample(prompt("x"), 1, seed=0, **SETTINGS | {"max_tokens": 10_000})
    assert sample.tokens + sample.prompt_tokens <= policy.context_tokens
    with pytest.raises(NoAnswerError, match="context") as caught:
        await policy.sample([*prompt("twenty characters...")] * 20, 1, seed=0, **SETTINGS)
    assert caught.value.kind == "refused"
    await policy.aclose()


async def test_a_caller_that_leaves_stops_the_batch(model):
    policy = open_policy(model)
    tokens = 0
    forward = policy._model.forward

    def counting(*args, **kwargs):
        nonlocal tokens
        tokens += 1
        return forward(*args, **kwargs)

    policy._model.forward = counting
    asked = asyncio.create_task(policy.sample(prompt("x"), 2, seed=0, **SETTINGS | {"max_tokens": 240}))
    while tokens < 3:
        await asyncio.sleep(0.001)
    asked.cancel()
    await asyncio.gather(policy._runner, asked, return_exceptions=True)
    assert tokens < 240
    assert len(await policy.sample(prompt("x"), 1, seed=0, **SETTINGS)) == 1
    await policy.aclose()


async def test_memory_that_runs_out_halves_the_batch(model, monkeypatch):
    policy = open_policy(model, batch_size=8)
    generate, sizes = policy._generate, []

    def scarce(batch, stop):
        sizes.append(len(batch))
        if len(batch) > 2:
            raise torch.OutOfMemoryError
        return generate(batch, stop)

    monkeypatch.setattr(policy, "_generate", scarce)
    assert len(await policy.sample(prompt("x"), 8, seed=0, **SETTINGS)) == 8
    assert sizes == [8, 4, 2, 2, 2, 2]
    await policy.aclose()


async def test_an_adapter_is_loaded_on_its_base_model(model, tmp_path):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    adapter = get_peft_model(
        AutoModelForCausalLM.from_pretrained(model),
        LoraConfig(r=4, init_lora_weights=False, target_modules="all-linear"),
    )
    adapter.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(model).save_pretrained(tmp_path)
    written = []
    for source in (model, str(tmp_path)):
        policy = open_policy(source)
        written.append(await policy.sample(prompt("x"), 4, seed=0, **SETTINGS))
        await policy.aclose()
    assert [sample.text for sample in written[0]] != [sample.text for sample in written[1]]


def test_a_model_that_cannot_be_loaded_is_named(tmp_path):
    with pytest.raises(ConfigError, match="nothing"):
        open_policy(str(tmp_path / "nothing"))


async def test_messages_are_parsed_if_tools_are_given(model):
    tools = tool_schemas([drop_in_tools.double])
    assert tools[0]["function"]["parameters"]["properties"]["x"]["type"] == "integer"
    tokenizer = with_tool_calls(drop_in_tools.tokenizer(), "m")
    prefix = tokenizer.apply_chat_template(prompt("x"), add_generation_prompt=True, return_dict=False)
    ids = tokenizer('<call>{"name": "double", "arguments": {"x": 3}}</call>')["input_ids"]
    message = parse_message(tokenizer, [*ids, tokenizer.eos_token_id], prefix, tools)
    assert message["tool_calls"][0]["function"] == {"name": "double", "arguments": {"x": 3}}
    halves = tokenizer('<call>{"name": "double", "arguments": {"x": "\\ud800"}}</call>')["input_ids"]
    assert parse_message(tokenizer, halves, prefix, tools)["tool_calls"][0]["function"]["arguments"] == {"x": "?"}
    for times in (MAX_DEPTH + 1, 1200):  # JSON of the second one is a RecursionError
        nested = f'<call>{{"name": "double", "arguments": {{"x": {"[" * times}{"]" * times}}}}}</call>'
        message = parse_message(tokenizer, tokenizer(nested)["input_ids"], prefix, tools)
        assert message == {"role": "assistant", "content": nested}
    policy = open_policy(model)
    with pytest.raises(ConfigError, match="no tool calls"):
        await policy.sample(prompt("x"), 1, seed=0, **SETTINGS, tools=tools)
    policy._tokenizer = drop_in_tools.tokenizer()
    (sample,) = await policy.sample(prompt("x"), 1, seed=0, **SETTINGS, tools=tools)
    assert sample.message["role"] == "assistant"
    await policy.aclose()
