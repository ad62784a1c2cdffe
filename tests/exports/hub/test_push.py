"""Rollouts and models on the Hub and back, by the real client against a server on a loopback port."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from huggingface_hub import DatasetCard, ModelCard

from tests.exports.hub.conftest import SECRET
from tests.support.hub_server import TOKEN
from tests.support.rollouts import row, write_batch, write_run
from tests.support.tiny import tiny_model, tiny_tokenizer
from trl_mle.errors import ConfigError
from trl_mle.exports.hub import push_model, push_rollouts
from trl_mle.exports.hub.model import model_card
from trl_mle.outcomes import Column, read_rollouts

TEMPLATE = "{{ messages }}"
CARD = """---
library_name: transformers
tags: [trl-mle]
---

# Model Card for run

`model="runs/{folder}"`, `from_pretrained("{folder}")` or `--model {folder} `, made in {home}/runs with {secret} and {token}.
"""


@pytest.fixture
def run_dir(tmp_path):
    folder = write_run(tmp_path / "run")
    leak = f"# {SECRET} {TOKEN} {tmp_path}/home/data"
    turns = json.dumps([{"tool": "submit", "public_score": 1.0, "private_score": 2.0, "code": f"{leak}\n"}])
    call = {"function": {"name": "run_program", "arguments": {"code": leak}}}
    messages = [{"role": "assistant", "content": leak, "tool_calls": [call]}]
    leaking = {"turns": turns, "prompt": [{"role": "user", "content": leak}], "completion": messages}
    write_batch(folder, 10, [row("valid", 0.5, 1.0, 2.0, program=leak) | leaking])
    (folder / "rollouts/train_000011_00.parquet").write_bytes(b"PAR1 cut off")
    pd.DataFrame({"mine": [1]}).to_parquet(folder / "rollouts/notes.parquet")
    return folder


def test_rollouts_come_back_without_private_scores_and_secrets(hub, run_dir, tmp_path, caplog):
    address = push_rollouts(run_dir, "me/rollouts")
    assert "train_000011_00.parquet cannot be read" in caplog.text
    assert address == f"{hub.url}/datasets/me/rollouts" and hub.repositories["dataset", "me/rollouts"].private
    here, there = read_rollouts(run_dir), read_rollouts("hub:me/rollouts")
    assert len(there) == len(here) == 21 and there[Column.REWARD].equals(here[Column.REWARD])
    assert there[Column.PRIVATE_SCORE].isna().all() and there[Column.PUBLIC_SCORE].equals(here[Column.PUBLIC_SCORE])
    clean = "# <hidden> <hidden> ~/data"
    assert json.loads(there["turns"].iloc[-1]) == [{"tool": "submit", "public_score": 1.0, "code": f"{clean}\n"}]
    assert there[Column.PROGRAM].iloc[-1] == there["prompt"].iloc[-1][0]["content"] == clean
    message = there["completion"].iloc[-1][0]
    assert message["content"] == message["tool_calls"][0]["function"]["arguments"]["code"] == clean
    # The files are compressed: what they hold shows in the table alone.
    assert not any(text in there.to_json() for text in (SECRET, TOKEN, "home"))
    assert not any(
        text.encode() in hub.files("dataset", "me/rollouts")["README.md"] for text in (SECRET, str(tmp_path))
    )


def test_private_scores_travel_if_asked_for(hub, run_dir):
    push_rollouts(run_dir, "me/rollouts", private=False, private_scores=True, license="cc-by-4.0")
    assert read_rollouts("hub:me/rollouts@main")[Column.PRIVATE_SCORE].iloc[-1] == 2.0
    card = DatasetCard.load("me/rollouts")
    assert card.data.license == "cc-by-4.0" and "do not train on them" in card.text
    assert card.data.configs[0]["data_files"] == [{"split": "train", "path": "rollouts/train_*.parquet"}]
    assert "`valid`" in card.text and "| `toy` | 21 |" in card.text and "hub:me/rollouts" in card.text
    card.validate()


def test_a_second_push_replaces_the_first(hub, run_dir, tmp_path):
    push_rollouts(run_dir, "me/rollouts")
    push_rollouts(write_batch(tmp_path / "other", 5, [row("valid", 0.5)]).parents[1], "me/rollouts")
    assert set(hub.files("dataset", "me/rollouts")) == {"README.md", "rollouts/train_000005_00.parquet"}
    assert len(hub.repositories["dataset", "me/rollouts"].commits) == 2


def test_what_is_not_there_is_a_user_error(hub, run_dir, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="'me/none' cannot be read"):
        read_rollouts("hub:me/none")
    with pytest.raises(ConfigError, match="No rollouts"):
        push_rollouts(tmp_path, "me/rollouts")
    with pytest.raises(ConfigError, match="identifier of the Hub"):
        push_rollouts(run_dir, "me/rollouts", license="My licence")
    push_model_folder(tmp_path / "model")
    push_model(tmp_path / "model", "me/policy")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_rollouts("hub:me/policy")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(ConfigError, match="hf auth login"):
        push_rollouts(run_dir, "me/rollouts")


def test_a_hub_that_cannot_be_reached_is_a_user_error(hub, run_dir, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:1")
    for call in (
        lambda: push_rollouts(run_dir, "me/rollouts"),
        lambda: push_model(push_model_folder(tmp_path / "model"), "me/policy"),
        lambda: read_rollouts("hub:me/rollouts"),
    ):
        with pytest.raises(ConfigError, match=r"me/.*refused"):
            call()


def push_model_folder(folder):
    """A model with its card, beside what must not travel."""
    tiny_model().save_pretrained(folder)
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    (folder / "README.md").write_text(CARD.format(folder=folder.name, home=Path.home(), secret=SECRET, token=TOKEN))
    (folder / "training_args.bin").write_bytes(b"token")
    (folder / "config.yaml").write_text("hub_token: x")
    (folder / "rollouts").mkdir()
    return folder


def test_a_model_comes_back_by_its_name(hub, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = push_model_folder(tmp_path / "run")
    push_model(folder, "me/policy", private=False, license="apache-2.0", base_model="Qwen/base")
    files = hub.files("model", "me/policy")
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= set(files)
    assert not {"training_args.bin", "config.yaml"} & set(files)
    card = ModelCard.load("me/policy")
    card.validate()
    assert (card.data.license, card.data.base_model) == ("apache-2.0", "Qwen/base")
    assert (
        'model="me/policy"`, `from_pretrained("me/policy")` or `--model me/policy `' in card.text
        and "~/runs with <hidden> and <hidden>" in card.text
    )
    model = AutoModelForCausalLM.from_pretrained("me/policy", cache_dir=tmp_path / "cache")
    assert model.config.hidden_size == tiny_model().config.hidden_size
    assert AutoTokenizer.from_pretrained("me/policy", cache_dir=tmp_path / "cache").chat_template == TEMPLATE


def test_the_card_of_a_checkpoint_names_the_model_of_the_hub(tmp_path):
    folder = tmp_path / "run/checkpoint-8"
    folder.mkdir(parents=True)
    (folder / "README.md").write_text('# Card\n\n`from_pretrained("run")`, `model="base"`\n')
    assert '`from_pretrained("me/policy")`, `model="base"`' in model_card(folder, "me/policy").text


def test_an_adapter_names_a_base_model_of_the_hub(hub, tmp_path):
    folder = push_model_folder(tmp_path / "run")
    (folder / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": str(tmp_path), "peft_type": "LORA"})
    )
    with pytest.raises(ConfigError, match="--base-model"):
        push_model(folder, "me/adapter")
    push_model(folder, "me/adapter", base_model="Qwen/base")
    files = hub.files("model", "me/adapter")
    assert json.loads(files["adapter_config.json"])["base_model_name_or_path"] == "Qwen/base"
    assert str(tmp_path).encode() not in files["README.md"] + files["adapter_config.json"]


def test_a_whole_model_is_not_loaded_as_the_adapter_of_an_earlier_push(hub, tmp_path):
    from transformers import AutoConfig

    folder = push_model_folder(tmp_path / "run")
    (adapter := folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "Qwen/base"}))
    push_model(folder, "me/policy")
    hub.files("model", "me/policy")["notes/config.json"] = b"mine"
    adapter.unlink()
    push_model(folder, "me/policy")
    files = hub.files("model", "me/policy")
    assert "adapter_config.json" not in files and {"notes/config.json", "model.safetensors"} <= set(files)
    assert AutoConfig.from_pretrained("me/policy", cache_dir=tmp_path / "cache").hidden_size


@pytest.mark.parametrize(
    ("missing", "words"), [("README.md", "No README.md"), ("model.safetensors", "holds no model")]
)
def test_a_folder_without_model_or_card_is_a_user_error(hub, tmp_path, missing, words):
    folder = push_model_folder(tmp_path / "run")
    (folder / missing).unlink()
    with pytest.raises(ConfigError, match=words):
        push_model(folder, "me/policy")


def test_a_card_that_the_hub_refuses_is_a_user_error(hub, tmp_path):
    folder = push_model_folder(tmp_path / "run")
    (folder / "README.md").write_text("---\nlicense: [\n---\n")
    with pytest.raises(ConfigError, match="cannot be read"):
        push_model(folder, "me/policy")
