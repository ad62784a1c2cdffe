"""The tiny policy's tokenizer, and the recipe that trains it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.scripts.test_recipes import recipe
from tests.support.tasks import toy_task
from trl_mle.demo.tiny_policy import build_tiny_policy, build_tokenizer
from trl_mle.errors import ConfigError
from trl_mle.scripts.sft import fingerprint_of

TEXTS = ["import pandas as pd\ntrain = pd.read_csv('input/train.csv')\n", "X = train[['a']]\nmodel.fit(X, y)\n"] * 20


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(TEXTS, vocab_size=400)


@settings(max_examples=200, deadline=None)
@given(text=st.text())
def test_decoding_gives_the_text_back(tokenizer, text):
    import unicodedata

    assert tokenizer.decode(tokenizer(text)["input_ids"]) == unicodedata.normalize("NFC", text)


def test_idioms_are_single_tokens(tokenizer):
    assert len(tokenizer("import pandas as pd\n")["input_ids"]) == 1
    assert len(tokenizer("#")["input_ids"]) == 1


def test_auto_classes_load_the_same_policy(tokenizer, tmp_path):
    model = build_tiny_policy(tokenizer, hidden_size=32, layers=1)
    tokenizer.save_pretrained(tmp_path)
    model.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    for text in [*TEXTS[:2], "model.fit(X, y) # é\n", "<|im_start|>user\nx<|im_end|>\n"]:
        assert again(text)["input_ids"] == tokenizer(text)["input_ids"]
    messages = [{"role": "user", "content": "hello"}]
    shown = again.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert shown == "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"
    assert again.eos_token == "<|im_end|>"
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert loaded.config.model_type == "qwen2"
    assert loaded.num_parameters() == model.num_parameters()


def test_impossible_sizes_are_named(tokenizer):
    with pytest.raises(ConfigError, match="`vocab_size` is 10"):
        build_tokenizer(TEXTS, vocab_size=10)
    with pytest.raises(ConfigError, match="hidden_size=30"):
        build_tiny_policy(tokenizer, hidden_size=30)


@pytest.fixture(scope="module")
def sft():
    return recipe("sft_mle")


def flags(out, *more):
    return [
        *("--output_dir", str(out), "--max_steps", "2", "--per_device_train_batch_size", "2", "--use_cpu", "true"),
        *("--bf16", "false", "--report_to", "none", "--save_strategy", "no", "--logging_steps", "1"),
        *("--gradient_checkpointing", "false", "--hidden_size", "32", "--num_layers", "1", "--vocab_size", "600"),
        *map(str, more),
    ]


def test_the_recipe_trains_once_for_the_same_settings(sft, capsys, tmp_path):
    task = toy_task(tmp_path)
    arguments = flags(tmp_path / "policy", "--tasks", task.folder, "--num_demonstrations", 8)
    assert sft.main(arguments) == 0
    assert "Trained" in capsys.readouterr().out
    first = (tmp_path / "policy/model.safetensors").stat().st_mtime_ns
    assert json.loads((tmp_path / "policy/sft.json").read_text())["steps"] == 2
    assert sft.main(arguments) == 0
    assert "already" in capsys.readouterr().out
    assert (tmp_path / "policy/model.safetensors").stat().st_mtime_ns == first
    with pytest.raises(SystemExit):
        sft.main([*arguments, "--use_peft", "true"])
    assert "holds a whole model, and `use_peft` is true" in capsys.readouterr().err
    arguments += ["--learning_rate", "0.1", "--save_strategy", "steps", "--save_steps", "2"]
    assert sft.main(arguments) == 0
    assert "Trained" in capsys.readouterr().out
    trained = (tmp_path / "policy/model.safetensors").read_bytes()
    # A kill after the last checkpoint: the resumed run has no step left to make.
    (tmp_path / "policy/sft.json").unlink()
    assert sft.main([*arguments, "--resume_from_checkpoint", "true"]) == 0
    assert json.loads((tmp_path / "policy/sft.json").read_text())["steps"] == 2
    assert (tmp_path / "policy/model.safetensors").read_bytes() == trained


def test_the_recipe_learns_from_a_file(sft, capsys, tmp_path):
    rows = [
        {"messages": [{"role": "user", "content": "do"}, {"role": "assistant", "content": "```python\nx\n```"}]}
    ] * 4
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    assert sft.main(flags(tmp_path / "policy", "--demonstrations", path)) == 0
    assert "on 4 demonstrations" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ([], "`tasks` is empty"),
        (["--tasks", "builtin:nothing"], "builtin:nothing"),
        (["--demonstrations", "nowhere.jsonl"], "nowhere.jsonl"),
        (["--tasks", "builtin:diabetes", "--bug_share", "2"], "`bug_share` is 2"),
        (["--tasks", "builtin:diabetes", "--model_name_or_path", "runs/none"], "runs/none"),
    ],
)
def test_user_errors_are_one_line(sft, capsys, tmp_path, more, words):
    with pytest.raises(SystemExit) as caught:
        sft.main(flags(tmp_path / "policy", *more))
    assert caught.value.code == 2
    shown = capsys.readouterr().err
    assert words in shown.strip().splitlines()[-1]
    assert "Traceback" not in shown


def test_a_policy_of_another_base_model_is_not_the_one_of_these_settings(sft, tmp_path):
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text("{}")
    (base / "model.safetensors").write_bytes(b"weights")
    args = sft.parse(flags(tmp_path / "policy", "--demonstrations", "mine.jsonl", "--model_name_or_path", base))
    first = fingerprint_of([], *args)
    assert fingerprint_of([], *args) == first
    (base / "model.safetensors").write_bytes(b"other weights")
    assert fingerprint_of([], *args) != first


def test_the_policy_of_a_run_is_not_overwritten(sft, capsys, tmp_path):
    (tmp_path / "rollouts").mkdir()
    with pytest.raises(SystemExit):
        sft.parse(flags(tmp_path, "--demonstrations", "mine.jsonl"))
    assert "holds a run, whose policy would be overwritten" in capsys.readouterr().err
