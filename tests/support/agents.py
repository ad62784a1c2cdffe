"""A policy that calls the tools of environments: it writes given messages, whatever its weights are."""

from __future__ import annotations

import json
import re

import torch
from datasets import Dataset

from tests.support.drop_in_tools import tokenizer
from tests.support.tiny import tiny_model


def call(name: str, **arguments) -> str:
    """A tool call as the tokenizer of `drop_in_tools` reads it."""
    return f"<call>{json.dumps({'name': name, 'arguments': arguments})}</call>"


def run_program(code: str) -> str:
    return call("run_program", code=code)


def scripted_model(scripts: list[list[str]]):
    """The tiny model, with completions by script: row `i` of a batch writes the messages of `scripts[i]`, and then "done"."""
    model, encode = tiny_model(), tokenizer()
    model.config.max_position_embeddings = 100_000

    def generate(input_ids, **kwargs):
        rows = []
        for index, text in enumerate(encode.batch_decode(input_ids)):
            named = re.search(r"<a>#(\d+)#", text)  # a later turn: its row stands in the first one
            row = int(named[1]) if named else index
            turn = text.count("<a>") - 1
            written = scripts[row][turn] if turn < len(scripts[row]) else "done"
            rows.append(encode((f"#{row}#" if turn == 0 else "") + written + "<|im_end|>")["input_ids"])
        length = max(map(len, rows))
        padded = [row + [encode.pad_token_id] * (length - len(row)) for row in rows]
        return torch.cat([input_ids, torch.tensor(padded)], dim=1)

    model.generate = generate
    return model


def short_prompts(task: str, rows: int = 8) -> Dataset:
    """Prompts that are cheap to train on: the scripted model reads none."""
    return Dataset.from_list([{"prompt": [{"role": "user", "content": "go"}], "task": task} for _ in range(rows)])
