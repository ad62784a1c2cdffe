"""What each of two processes runs in `test_turns_two_processes.py`: rollouts whose numbers of turns differ between the processes.

Arguments: output folder, launcher (`ddp`, `zero3`, `fsdp2`), scenarios. Each process writes what it saw to
`OUT/<scenario>_<rank>.pt`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType
from trl import GRPOConfig, GRPOTrainer
from trl.generation.vllm_generation import VLLMGeneration

from tests.support.agents import call, scripted_model, short_prompts
from tests.support.drop_in_tools import tokenizer
from tests.support.loss_cases import changes_of
from tests.support.tiny import tiny_args
from tests.support.tool_loop import TOKENIZER, Loop, Tools, first_turns, ours, scripted_trainer, written
from trl_mle import DurationAwareConfig, DurationAwareTrainer

RANK = int(os.environ["RANK"])
TURNS = [[1, 0, 1, 0], [3, 2, 0, 1]][RANK]
"""Tool calls of each of this process's rollouts."""


class Environment:
    def reset(self, **row: Any) -> None:
        self.calls = 0

    async def run(self, x: int) -> str:
        """
        Runs a program.

        Args:
            x: A number.
        """
        await asyncio.sleep(0.01 * x)
        self.calls += 1
        return f"run {x} of process {RANK}"


def reward(completions, log_extra=None, **kwargs):
    if log_extra is not None:
        log_extra("action_duration", [1.0] * len(completions))
    return [float(len(each)) for each in completions]


def collective_model(scenario: str):
    """The scripted policy, whose every generation also samples from the real model, as sharded parameters need all processes."""
    model = scripted_model([[call("run", x=turn + 1) for turn in range(turns)] for turns in TURNS])
    scripted, calls = model.generate, []

    def generate(input_ids, **kwargs):
        calls.append(len(input_ids))
        if scenario == "error" and RANK == 1 and len(calls) == 2:
            raise RuntimeError("generation failed")
        type(model).generate(model, input_ids=input_ids[:, -4:], max_new_tokens=2, do_sample=False)
        return scripted(input_ids, **kwargs)

    model.generate = generate
    model.calls = calls
    return model


def train(scenario: str, strategy: str, out: Path) -> dict[str, Any]:
    theirs = scenario == "trl"
    model = collective_model(scenario)
    trainer = (GRPOTrainer if theirs else DurationAwareTrainer)(
        model=model,
        processing_class=tokenizer(),
        args=tiny_args(
            out / f"{scenario}_{RANK}",
            GRPOConfig if theirs else DurationAwareConfig,
            per_device_train_batch_size=4,
            max_steps=1,
            max_completion_length=2000,
            **(
                {}
                if theirs
                else {"tool_rollouts": scenario if scenario != "error" else "together", "save_rollouts": False}
            ),
            **changes_of(strategy),
        ),
        train_dataset=short_prompts("toy"),
        reward_funcs=reward,
        environment_factory=Environment,
    )
    seen: dict[str, Any] = {}
    try:
        trainer.train()
    except Exception as error:
        seen["error"] = f"{type(error).__name__}: {error}"
    return {
        **seen,
        "calls": [environment.calls for environment in trainer.environments],
        "generations": len(model.calls),
        "completions": list(trainer._logs["completion"]),
        "steps": trainer.state.global_step,
        "in_step": not theirs and trainer._tool_rollouts._lockstep is not None,
    }


class Client:
    """A vLLM server that calls a tool twice, and names the prompt that it continues in its last turn."""

    def generate(self, prompts, features=None, n=1, **kwargs):
        answers = []
        for ids in prompts:
            text = TOKENIZER.decode(ids)
            turn = text.count("{'row'")
            answers.append(written(call("later", x=turn + 1) if turn < 2 else text[:5]))
        logprobs = [[[-0.5]] * len(ids) for ids in answers]
        return {"prompt_ids": prompts, "completion_ids": answers, "logprobs": logprobs}


def served(scenario: str) -> dict[str, Any]:
    """Rollouts of a vLLM server, through TRL's own code for it. The first process has one rollout with tools, the second three."""
    from accelerate import Accelerator

    engine = VLLMGeneration.__new__(VLLMGeneration)
    for name in ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "structured_outputs_regex", "images"):
        setattr(engine, name, None)
    engine.accelerator, engine.mode, engine.vllm_client = Accelerator(cpu=True), "server", Client()
    engine.max_completion_length, engine.logprobs, engine.generation_kwargs = 1000, 0, {}

    def generate(prompt_ids, images, multimodal_fields, num_generations, has_tool_images=False):
        _, ids, logprobs, _ = engine.generate(prompt_ids, images, num_generations)
        return ids, [[each[0] for each in row] for row in logprobs]

    with Loop() as loop:
        made = scripted_trainer(lambda ids: ids, [Tools(row) for row in range(4)], loop)
        made.accelerator, made.use_vllm, made.eos_token_ids = engine.accelerator, True, [1]
        made.args = SimpleNamespace(
            tool_rollouts="together",
            tool_timeout_s=None,
            vllm_mode="server",
            vllm_tensor_parallel_size=1,
            vllm_enable_sleep_mode=False,
        )
        made.vllm_mode = "server"
        calling = 1 if RANK == 0 else 3
        texts = [call("later", x=0) if row < calling else "done" for row in range(4)]
        arguments = first_turns(made, texts)
        arguments["logprobs"] = [[-1.0] * len(ids) for ids in arguments["completion_ids"]]
        made._generate_single_turn = lambda *args, **kwargs: made.rollouts.generate(generate, *args, **kwargs)
        (masks, completions, ids, logprobs, calls, _, _), _ = ours(made, arguments)
    return {
        "completions": completions,
        "calls": calls,
        "lengths": [list(map(len, each)) for each in (masks, ids, logprobs)],
    }


def main(out: Path, strategy: str, scenarios: list[str]) -> None:
    if strategy == "fsdp2":
        PartialState(cpu=True, backend="gloo")
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
    elif strategy == "ddp":
        PartialState(cpu=True)
    for scenario in scenarios:
        record = (served if scenario == "server" else partial(train, strategy=strategy, out=out))(scenario)
        torch.save(record, out / f"{scenario}_{RANK}.pt")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
