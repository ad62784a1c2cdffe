"""A policy that calls tools, for the drop-in matrix: it writes given calls, whatever its weights are."""

from __future__ import annotations

import asyncio

import torch
from datasets import Dataset

from tests.support.tiny import tiny_model, tiny_tokenizer

TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'assistant' %}<a>{{ m.content }}"
    "{% for c in m.tool_calls or [] %}<call>{{ c.function | tojson }}</call>{% endfor %}<|im_end|>"
    "{% elif m.role == 'tool' %}[{{ m.content }}]{% else %}{{ m.content }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<a>{% endif %}"
)
RESPONSE = {
    "defaults": {"role": "assistant"},
    "start_anchor": "<a>",
    "fields": {
        "tool_calls": {
            "open": "<call>",
            "close_pattern": "</call>",
            "repeats": True,
            "content": "json",
            "transform": {"type": "function", "function": "{content}"},
        },
        "content": {"close_pattern": r"<\|im_end\|>", "content": "text"},
    },
}


def tokenizer():
    made = tiny_tokenizer()
    made.chat_template, made.response_template = TEMPLATE, RESPONSE
    return made


def double(x: int) -> int:
    """
    Doubles a number.

    Args:
        x: The number.

    Returns:
        Twice the number.
    """
    return 2 * x


def _later_double():
    async def double(x: int) -> int:
        """
        Doubles a number.

        Args:
            x: The number.

        Returns:
            Twice the number.
        """
        # The later the call, the sooner the answer.
        await asyncio.sleep(0.02 / (1 + x))
        return 2 * x

    return double


later_double = _later_double()
"""`double` as an asynchronous tool of the same name."""


class Counter:
    """An environment with one tool."""

    def reset(self, **kwargs) -> None:
        self.sum = 0

    def add(self, x: int) -> int:
        """
        Adds a number.

        Args:
            x: The number.

        Returns:
            The sum so far.
        """
        self.sum += x
        return self.sum


class LaterCounter(Counter):
    """The same with an asynchronous tool."""

    async def add(self, x: int) -> int:
        """
        Adds a number.

        Args:
            x: The number.

        Returns:
            The sum so far.
        """
        await asyncio.sleep(0.02 / (1 + x))
        self.sum += x
        return self.sum


def calling_model():
    """The tiny model with completions that call `double` or `add` rightly, wrongly or not at all, and end after the answer."""
    model, encode = tiny_model(), tokenizer()

    def generate(input_ids, **kwargs):
        rows = []
        for index, text in enumerate(encode.batch_decode(input_ids)):
            name, argument = ("double", "add")[index % 2], ("x", "x", "x", "y")[index % 4]
            calls = f'<call>{{"name": "{name}", "arguments": {{"{argument}": {index}}}}}</call>'
            answered = "[" in text
            rows.append(encode(("ok" if answered or index == 6 else calls) + "." * index + "<|im_end|>")["input_ids"])
        length = max(map(len, rows))
        padded = [row + [encode.pad_token_id] * (length - len(row)) for row in rows]
        return torch.cat([input_ids, torch.tensor(padded)], dim=1)

    model.generate = generate
    return model


def calling_rollouts(prompts, trainer):
    """First turns that call `double` or `add`, from a rollout function instead of the policy."""
    encode = trainer.processing_class
    calls = [
        f'<call>{{"name": "{("double", "add")[index % 2]}", "arguments": {{"{"xxy"[index % 3]}": {index}}}}}</call><|im_end|>'
        for index in range(len(prompts))
    ]
    return {
        "prompt_ids": [encode.apply_chat_template(each, add_generation_prompt=True)["input_ids"] for each in prompts],
        "completion_ids": [encode(text)["input_ids"] for text in calls],
        "logprobs": None,
    }


def conversations() -> Dataset:
    return Dataset.from_list(
        [{"prompt": [{"role": "user", "content": f"task {row}"}], "row": row} for row in range(8)]
    )
