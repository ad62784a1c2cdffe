"""Seconds of learning on a micro-batch with and without `share_prompts`: forward and backward pass of one group.

    python benchmarks/shared_prompts.py

A small Qwen2 with random weights learns from 8 completions of 280 tokens to one prompt. The prompts have 200, 800 and 2,000
tokens: a short one, that of a built-in task, and one with earlier solutions. Both ways take turns within a repetition, and are
compared as quotients within it. Results go to `docs/results/shared_prompts.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median

import torch
from checkout import ROOT
from datasets import Dataset
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM, set_seed

from trl_mle import DurationAwareConfig, DurationAwareTrainer

ROWS = 8
COMPLETION = 280
PROMPTS = (200, 800, 2000)
VOCABULARY = 32_000


def trainer_of(folder: str, share: bool) -> DurationAwareTrainer:
    set_seed(0)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=VOCABULARY,
            hidden_size=256,
            intermediate_size=1024,
            num_hidden_layers=6,
            num_attention_heads=4,
            num_key_value_heads=2,
            tie_word_embeddings=True,
        )
    )
    words = Tokenizer(models.BPE(vocab={"<pad>": 0, "<end>": 1, "a": 2}, merges=[]))
    on_gpu = torch.cuda.is_available()
    args = DurationAwareConfig(
        folder,
        use_cpu=not on_gpu,
        bf16=on_gpu,
        gradient_checkpointing=False,
        per_device_train_batch_size=ROWS,
        num_generations=ROWS,
        duration_weighting="none",
        report_to="none",
        share_prompts=share,
    )
    return DurationAwareTrainer(
        model,
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=args,
        train_dataset=Dataset.from_list([{"prompt": "a"}] * ROWS),
        processing_class=PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<end>"),
    )


def seconds(trainer: DurationAwareTrainer, prompt: int) -> float:
    """Forward and backward pass of one micro-batch."""
    device = trainer.accelerator.device
    random = torch.Generator().manual_seed(prompt)
    first = torch.randint(3, VOCABULARY, (1, prompt), generator=random).expand(ROWS, -1)
    ids = torch.cat([first, torch.randint(3, VOCABULARY, (ROWS, COMPLETION), generator=random)], dim=1).to(device)
    started = time.perf_counter()
    logps, _, _ = trainer._get_per_token_logps_and_entropies(
        trainer.model, ids, torch.ones_like(ids), COMPLETION, compute_entropy=True
    )
    logps.mean().backward()
    if device.type == "cuda":
        torch.cuda.synchronize()
    trainer.model.zero_grad()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/shared_prompts.json")
    args = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        plain, shared = trainer_of(folder, share=False), trainer_of(folder, share=True)
        for prompt in PROMPTS:
            seconds(plain, prompt), seconds(shared, prompt)  # the first one warms up, and compares both ways
            pairs = [(seconds(plain, prompt), seconds(shared, prompt)) for _ in range(args.repetitions)]
            quotients = sorted(separate / once for separate, once in pairs)
            results[prompt] = {
                "separate_s": round(median(pair[0] for pair in pairs), 3),
                "shared_s": round(median(pair[1] for pair in pairs), 3),
                "quotient": round(median(quotients), 2),
                "lowest": round(quotients[0], 2),
                "highest": round(quotients[-1], 2),
                "tokens": round(ROWS * (prompt + COMPLETION) / (prompt - 1 + ROWS * (COMPLETION + 1)), 2),
            }
            print(f"prompt of {prompt} tokens: {results[prompt]}", flush=True)
    device = (
        torch.cuda.get_device_name() if torch.cuda.is_available() else f"{platform.machine()}, {os.cpu_count()} cores"
    )
    content = {
        "command": f"python benchmarks/shared_prompts.py --repetitions {args.repetitions}",
        "machine": f"{device}, {torch.get_num_threads()} threads",
        "versions": {name: version(name) for name in ("trl_mle", "trl", "transformers", "torch")},
        "results": results,
    }
    args.out.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
