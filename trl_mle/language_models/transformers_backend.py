"""A [`Backend`] that runs a frozen transformers model in this process, without a server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.integrations import is_deepspeed_zero3_enabled

from trl_mle.errors import ConfigError
from trl_mle.language_models.backends import Answer, BackendError, Message

BATCH = 8
"""Most conversations in one forward pass."""

_Waiting = tuple[list[Message], asyncio.Future[Answer]]
"""A conversation and the answer that its caller waits for."""


class TransformersBackend:
    """A frozen transformers model that answers greedily, or samples.

    Conversations that wait at the same time are answered in one batch, in a thread. Every process of a run loads a model of
    its own, which shares its GPU with training. A server beside training is faster (`docs/instrumentation.md`).

    Args:
        model (`str`):
            Hub id or path, for example `Qwen/Qwen2.5-3B-Instruct` or the policy that training starts from.
        max_tokens (`int`):
            Longest answer, in tokens.
        device (`str`, *optional*):
            Device of the model. Defaults to this process's GPU, or to the CPU.
        dtype (`str`, *optional*, defaults to `"auto"`):
            Data type of the weights.
        temperature (`float`, *optional*, defaults to `0.0`):
            Temperature of sampling, without a cut of the distribution. 0 takes the most likely token.

    Raises:
        ConfigError: there is no such model, it has no chat template, the run uses ZeRO-3, or a temperature below 0.
    """

    def __init__(
        self,
        model: str,
        max_tokens: int,
        device: str | None = None,
        dtype: str = "auto",
        temperature: float = 0.0,
    ):
        if not temperature >= 0:
            raise ConfigError(f"`temperature` is {temperature}; it must be 0 or more.")
        self.model = model
        self.temperature = temperature
        self.max_tokens = max_tokens
        if is_deepspeed_zero3_enabled():
            raise ConfigError(
                f"ZeRO-3 would split the frozen model {model!r} over the processes. Serve the model and give the URL of the "
                "server (`instrumenter_endpoint`)."
            )
        local = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        self.device = device or (local if torch.cuda.is_available() else "cpu")
        self._tokenizer: Any
        self._model: Any
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(model, padding_side="left")
            self._model = AutoModelForCausalLM.from_pretrained(model, dtype=dtype)
        except (OSError, ValueError) as error:
            raise ConfigError(f"The frozen language model {model!r} cannot be loaded: {error}") from error
        if self._tokenizer.chat_template is None:
            raise ConfigError(
                f"The frozen language model {model!r} has no chat template; use an instruction-tuned one."
            )
        if self._tokenizer.pad_token_id is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        self._model.to(self.device).eval().requires_grad_(False)
        self._queue: list[_Waiting] = []
        self._runner: asyncio.Task[None] | None = None

    async def complete(self, messages: Sequence[Message]) -> Answer:
        """See [`Backend`].

        Raises:
            BackendError: the model failed (out of memory), was closed, or cannot hold this conversation in its context.
        """
        loop = asyncio.get_running_loop()
        if self._runner is None or self._runner.done() or self._runner.get_loop() is not loop:
            self._queue = []  # what an event loop that has ended left behind
            self._runner = loop.create_task(self._run())
        future: asyncio.Future[Answer] = loop.create_future()
        self._queue.append((list(messages), future))
        return await future

    async def aclose(self) -> None:
        """Stop the batches. Whoever waits for an answer gets a `BackendError`."""
        runner, self._runner = self._runner, None
        waiting, self._queue = self._queue, []
        if runner is not None and runner.get_loop() is asyncio.get_running_loop():
            runner.cancel()
            _fail(waiting, BackendError("the model was closed"))

    async def _run(self) -> None:
        while self._queue:
            batch, self._queue = self._queue[:BATCH], self._queue[BATCH:]
            batch = [item for item in batch if not item[1].done()]  # a caller that gave up has cancelled its future
            if not batch:
                continue
            try:
                await self._answer(batch)
            except asyncio.CancelledError:
                _fail(batch, BackendError("the model was closed"))
                raise

    async def _answer(self, batch: list[_Waiting]) -> None:
        try:
            answers = await asyncio.to_thread(self._generate, [messages for messages, _ in batch])
        except Exception as error:
            if len(batch) > 1:  # one conversation that needs too much memory must not cost the others their answers
                for item in batch:
                    await self._answer([item])
            else:
                _fail(batch, BackendError(f"the model failed: {type(error).__name__}: {error}"[:300], down=True))
            return
        for item, answer in zip(batch, answers, strict=True):
            if isinstance(answer, BackendError):
                _fail([item], answer)
            elif not item[1].done():
                item[1].set_result(answer)

    def _generate(self, conversations: list[list[Message]]) -> list[Answer | BackendError]:
        """The answer to each conversation, or why it cannot have one: beyond its context a model answers nonsense."""
        longest = getattr(self._model.config, "max_position_embeddings", None)
        lengths = [len(self._tokenize([messages])["input_ids"][0]) for messages in conversations]
        fits = [longest is None or length + self.max_tokens <= longest for length in lengths]
        fitting = [messages for messages, is_short in zip(conversations, fits, strict=True) if is_short]
        answers = iter(self._generate_batch(fitting) if fitting else [])
        return [
            next(answers)
            if is_short
            else BackendError(f"{length} + {self.max_tokens} tokens are more than the model's {longest}")
            for length, is_short in zip(lengths, fits, strict=True)
        ]

    def _tokenize(self, conversations: list[list[Message]]) -> Any:
        return self._tokenizer.apply_chat_template(
            conversations, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
        )

    @torch.inference_mode()
    def _generate_batch(self, conversations: list[list[Message]]) -> list[Answer]:
        inputs = self._tokenize(conversations).to(self.device)
        length = inputs["input_ids"].shape[1]
        output = self._model.generate(
            **inputs,  # the sampling settings are these, whatever the model's own configuration says
            max_new_tokens=self.max_tokens,
            do_sample=self.temperature > 0,
            temperature=self.temperature or None,
            top_p=1.0 if self.temperature else None,
            top_k=0 if self.temperature else None,
            repetition_penalty=1.0,
            pad_token_id=self._tokenizer.pad_token_id,
        )
        answers = []
        for row in output[:, length:]:
            ended = any(int(token) in self._end_tokens() for token in row)
            answers.append(Answer(self._tokenizer.decode(row, skip_special_tokens=True), truncated=not ended))
        return answers

    def _end_tokens(self) -> set[int]:
        # A chat model often has two: one ends its turn (in the generation settings), one ends the text (the tokenizer's).
        configured = self._model.generation_config.eos_token_id
        tokens = configured if isinstance(configured, list) else [configured]
        return {token for token in (*tokens, self._tokenizer.eos_token_id) if token is not None}


def _fail(items: list[_Waiting], error: BackendError) -> None:
    for _, future in items:
        if not future.done():
            future.set_exception(error)
