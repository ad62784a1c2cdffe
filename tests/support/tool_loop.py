"""`GRPOTrainer._tool_call_loop` without a model: trainers whose policy follows a script, and the tools that it calls."""

from __future__ import annotations

import asyncio
import copy
import json
import random
import sys
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

from trl import GRPOTrainer
from trl.chat_template_utils import parse_response
from trl.trainer.utils import shutdown_event_loop_in_daemon, start_event_loop_in_daemon

from tests.support.drop_in_tools import tokenizer
from trl_mle.training.turns.tool_rollouts import ToolRollouts, TurnTiming

TOKENIZER = tokenizer()
MEMBERS = ("prompts", "prompt_ids", "completion_ids", "completions", "logprobs", "images", "multimodal_fields")


class Loop:
    """An event loop in a thread, as a trainer has it."""

    def __enter__(self) -> asyncio.AbstractEventLoop:
        self.thread, self.loop, ready = start_event_loop_in_daemon("tools")
        ready.wait()
        return self.loop

    def __exit__(self, *error: Any) -> None:
        shutdown_event_loop_in_daemon(self.thread, self.loop)


class Tools:
    """Tools of one rollout, with a state. Their names are those of TRL's dictionaries."""

    def __init__(self, row: int, log: list | None = None):
        self.row, self.sum, self.log = row, 0, [] if log is None else log

    def add(self, x: int) -> int:
        """
        Adds a number.

        Args:
            x: The number.

        Returns:
            The sum so far.
        """
        self.log.append((self.row, "add", x))
        if x < 0:
            raise ValueError("below 0")
        self.sum += x
        return self.sum

    async def later(self, x: int, s: float = 0.0) -> Any:
        """
        Answers later.

        Args:
            x: A number.
            s: Seconds.

        Returns:
            What was known when it answered.
        """
        await asyncio.sleep(s)
        if x < 0:
            raise ValueError("later below 0")
        return {"row": self.row, "x": x, "sum": self.sum}


def scripted_trainer(
    write: Callable[[list[int]], list[int]],
    tools: Sequence[Tools],
    loop: asyncio.AbstractEventLoop | None = None,
    *,
    max_completion_length: int = 10_000,
    max_model_len: int = 100_000,
    iterations: int = sys.maxsize,
    with_logprobs: bool = False,
    **settings: Any,
) -> GRPOTrainer:
    """A `GRPOTrainer` that was not constructed, whose policy continues any prompt by `write(ids)`. `batches` has the sizes of the
    batches that it generates."""
    trainer = GRPOTrainer.__new__(GRPOTrainer)
    trainer.batches = []

    def generate(prompt_ids, images, multimodal_fields, num_generations, has_tool_images=False):
        assert num_generations == 1 and images is None
        trainer.batches.append(len(prompt_ids))
        written = [write(ids) for ids in prompt_ids]
        return written, [[-0.5] * len(ids) for ids in written] if with_logprobs else None

    trainer._generate_single_turn = generate
    trainer._sync_tool_dicts = [{"add": each.add} for each in tools]
    trainer._async_tool_dicts = [{"later": each.later} for each in tools]
    trainer.max_tool_calling_iterations = iterations
    trainer.max_completion_length = max_completion_length
    trainer.async_loop = loop
    trainer.use_vllm = trainer._is_vlm = False
    trainer.model = SimpleNamespace(config=SimpleNamespace(max_position_embeddings=max_model_len))
    trainer.environment_factories = None
    trainer.tools = [tools[0].add, tools[0].later]
    trainer._tokenizer = trainer.processing_class = TOKENIZER
    trainer.chat_template, trainer.chat_template_kwargs = None, {}
    trainer.accelerator = SimpleNamespace(num_processes=1)
    trainer.args = SimpleNamespace(**{"tool_rollouts": "together", "tool_timeout_s": None, **settings})
    return trainer


def call(name: str, **arguments: Any) -> str:
    """A tool call as the policy writes it."""
    return raw_call({"name": name, "arguments": arguments})


def raw_call(function: Any) -> str:
    return f"<call>{json.dumps(function)}</call>"


def written(text: str, ends: bool = True) -> list[int]:
    return TOKENIZER(text + ("<|im_end|>" if ends else ""))["input_ids"]


def first_turns(trainer: GRPOTrainer, texts: Sequence[str]) -> dict[str, Any]:
    """Arguments of `_tool_call_loop` for rollouts whose first turn is each of the texts."""
    prompts = [[{"role": "user", "content": f"row {row}"}] for row in range(len(texts))]
    prompt_ids = [TOKENIZER.apply_chat_template(each, add_generation_prompt=True)["input_ids"] for each in prompts]
    completion_ids = [written(text) for text in texts]
    completions = [
        [parse_response(TOKENIZER, ids, prefix=prompt, tools=trainer.tools)]
        for ids, prompt in zip(completion_ids, prompt_ids, strict=True)
    ]
    return {
        "prompts": prompts,
        "prompt_ids": prompt_ids,
        "completion_ids": completion_ids,
        "completions": completions,
        "logprobs": None,
        "images": None,
        "multimodal_fields": {},
    }


def theirs(trainer: GRPOTrainer, arguments: dict[str, Any]) -> tuple:
    """What TRL's loop returns."""
    given = copy.deepcopy(arguments)
    return trainer._tool_call_loop(*(given[name] for name in MEMBERS)), given["prompts"]


def ours(trainer: GRPOTrainer, arguments: dict[str, Any], timing: TurnTiming | None = None) -> tuple:
    """What our loop returns."""
    given = copy.deepcopy(arguments)
    trainer.rollouts = ToolRollouts(trainer, timing)
    return trainer.rollouts.run(trainer._tool_call_loop, *(given[name] for name in MEMBERS)), given["prompts"]


def random_policy(seed: int, talkative: float = 0.8) -> Callable[[list[int]], list[int]]:
    """A policy that writes tool calls of all kinds, wrong ones among them. What it writes depends on the prompt alone."""

    def write(ids: list[int]) -> list[int]:
        rng = random.Random(f"{seed} {ids}")
        parts = ["x" * rng.randrange(6)]
        while rng.random() < talkative and len(parts) < 4:
            number = rng.randrange(-2, 9)
            parts.append(
                rng.choice(
                    [
                        call("add", x=number),
                        call("later", x=number),
                        call("later", x=number, s=0.001 * rng.randrange(4)),
                        call("later", y=number),
                        call("add", y=number),
                        call("missing", x=number),
                        raw_call({"name": "later", "arguments": "text"}),
                        raw_call({"name": "add", "arguments": [1]}),
                        raw_call({"name": "later"}),
                        raw_call(["no function"]),
                        "<call>{broken</call>",
                    ]
                )
            )
        return written("".join(parts), ends=rng.random() < 0.9)

    return write
