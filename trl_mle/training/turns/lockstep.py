"""Rollouts with tools where all processes take part in each generation: every process generates equally often."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from accelerate.utils import gather_object

from trl_mle.training.distributed import raise_together


def generation_is_collective(trainer: Any) -> bool:
    """Whether the generation of one process needs the others: with sharded parameters or a shared inference engine."""
    accelerator = trainer.accelerator
    if accelerator.num_processes == 1:
        return False
    deepspeed = getattr(accelerator.state, "deepspeed_plugin", None)
    is_sharded = (deepspeed is not None and deepspeed.zero_stage == 3) or getattr(
        accelerator.state, "fsdp_plugin", None
    ) is not None
    if not trainer.use_vllm:
        return is_sharded
    args = trainer.args
    # After a sleep the engine gets its weights again, which gathers sharded ones.
    gathers_weights = is_sharded and args.vllm_enable_sleep_mode
    return args.vllm_mode == "server" or args.vllm_tensor_parallel_size > 1 or gathers_weights


class Lockstep:
    """Keeps processes in step: in each round all of them generate once, with as many prompts each if vLLM is shared.

    TRL's loop generates as often as a process's own rollouts call tools, so that processes wait for each other forever if the
    numbers differ; from a shared vLLM they get each other's completions if the numbers of prompts differ.

    Args:
        trainer ([`DurationAwareTrainer`]):
            The trainer whose processes are kept in step.
    """

    def __init__(self, trainer: Any):
        self._trainer = trainer
        self._needs_equal_counts = trainer.use_vllm
        self._has_generated = False
        self._active = False

    def run(self, batch: Any, ready: Callable[[], list[int]], advance: Callable[[list[int]], None]) -> None:
        """Advance the rollouts of all processes to their end; to be called by all of them.

        Args:
            batch ([`Batch`]):
                This process's rollouts.
            ready:
                Waits for tools, and returns the rows that go on. None for a process that has come to its end.
            advance:
                Generates the next turn of the rows.

        Raises:
            Exception: an error of this process.
            ProcessError: an error of another process.
        """
        self._active = True
        try:
            error = None
            while True:
                rows: list[int] = []
                try:
                    rows = ready() if error is None else []
                except Exception as raised:
                    error = raised
                raise_together(error)
                if not any(gather_object([bool(rows)])):
                    return
                error = self._round(batch, rows, advance)
        finally:
            self._active = False

    def _round(self, batch: Any, rows: list[int], advance: Callable[[list[int]], None]) -> Exception | None:
        """One generation of this process. Returns an error from before it, which the other processes do not know of yet."""
        self._has_generated, error = False, None
        try:
            if rows:
                advance(rows)
        except Exception as raised:
            if self._has_generated:
                raise
            error = raised
        if not self._has_generated:
            self._trainer._generate_single_turn([_spare_prompt(self._trainer, batch)], None, {}, num_generations=1)
        return error

    def generate(
        self, generate: Callable[..., tuple], prompt_ids: list, images: Any, *args: Any, **kwargs: Any
    ) -> tuple:
        """What `generate`, TRL's `_generate_single_turn`, returns for the prompts. Others fill up if a process has fewer."""
        if not self._active:
            return generate(prompt_ids, images, *args, **kwargs)
        self._has_generated = True
        rows = len(prompt_ids)
        if self._needs_equal_counts:
            missing = max(gather_object([rows])) - rows
            prompt_ids = prompt_ids + [prompt_ids[-1]] * missing
            images = None if images is None else images + [None] * missing
        completion_ids, logprobs = generate(prompt_ids, images, *args, **kwargs)
        return completion_ids[:rows], None if logprobs is None else logprobs[:rows]


def _spare_prompt(trainer: Any, batch: Any) -> list[int]:
    """A prompt of a process that has none, whose completion nobody reads: a rollout that has ended, without its last token. The
    policy ended there once, and most likely ends there again at once."""
    ends = set(trainer.eos_token_ids)
    rollouts = zip(batch.prompt_ids, batch.completion_ids, strict=True)
    prompts = [
        (completion[-1] not in ends, len(prompt) + len(completion), prompt + completion[:-1])
        for prompt, completion in rollouts
    ]
    return min(prompts)[-1]
